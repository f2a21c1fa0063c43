// SPDX-License-Identifier: Apache-2.0
// A plugin whose answer is not as its schema says: each call ends with one error that names plugin,
// call and pointer. So does what a plugin writes through the host's services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <hyper/interfaces.hpp>
#include <map>

#include "core/plugin/handles.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// What the plugin below answers, by call.
std::map<std::string, std::string>& answers() {
  static std::map<std::string, std::string> all;
  return all;
}

class Bytes final : public hyper::Source {
 public:
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = 4096;
    return traits;
  }
  void read_at(hyper::Op, uint64_t, void* buf, uint64_t len) override { std::memset(buf, 1, len); }
  std::string finish(hyper::Op) override { return answers()["finish"]; }
};

class Object final : public hyper::Sink {
 public:
  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_RESUME;
    return traits;
  }
  void write_at(hyper::Op, uint64_t, const void*, uint64_t) override {}
  std::string commit(hyper::Op, uint64_t) override { return answers()["commit"]; }
  std::string keep(hyper::Op, bool) override { return answers()["keep"]; }
};

class Wrong final : public hyper::ProviderConnection,
                    public hyper::ConverterInstance,
                    public hyper::StorageConnection {
 public:
  static std::unique_ptr<Wrong> connect(const hyper::Doc&, hyper::Op) {
    return std::make_unique<Wrong>();
  }
  static std::unique_ptr<Wrong> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<Wrong>();
  }
  static std::string probe(const hyper::Doc&, hyper::Op, hyper::SourceRef) {
    return answers()["probe"];
  }
  static std::unique_ptr<hyper::Source> open(const hyper::Doc&, hyper::Op, hyper::SourceRef,
                                             const hyper::Doc&) {
    return std::make_unique<Bytes>();
  }
  void list_vms(hyper::Op, const char*, const hyper::Emit& emit) override {
    emit(R"({"ref": "a", "name": "a"})");
    emit(answers()["list_vms"]);
  }
  std::string describe_vm(hyper::Op, const std::string&) override {
    return answers()["describe_vm"];
  }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc&) override {
    throw hyper::Error(HYPER_IO, "there is no VM");
  }
  std::string plan(hyper::Op, const hyper::Doc&) override { return answers()["plan"]; }
  std::string convert(hyper::Op op, const hyper::Doc&, hyper::SourceRef, hyper::SinkRef) override {
    if (answers().contains("state")) hyper::Checkpoint::save(op, answers()["state"]);
    if (answers().contains("entry")) hyper::Journal::open(op, answers()["entry"]);
    if (answers().contains("update")) hyper::Journal::update(op, 1, answers()["update"]);
    return answers()["convert"];
  }
  std::string info(hyper::Op) override { return answers()["info"]; }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc&) override {
    return std::make_unique<Object>();
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string&) override {
    return std::make_unique<Bytes>();
  }
  std::string stat(hyper::Op, const std::string&) override { return answers()["stat"]; }
  void list(hyper::Op, const std::string&, const hyper::Emit& emit) override {
    emit(answers()["list"]);
  }
  void remove(hyper::Op, const std::string&) override {}

  // Each of the three bases has these.
  void undo(hyper::Op, const hyper::Doc& entry) override { answers()["undone"] = entry.json(); }
  void disconnect(hyper::Op) override {}
  bool understands(const std::string&) override { return false; }
  const void* get_ext(const char*, void**) noexcept override { return nullptr; }
};

/// Keeps the last update.
class NoJournal final : public Journal {
 public:
  uint64_t open_entry(const std::string&, const json&) override { return ++opened; }
  void update_entry(uint64_t, const json& what) override { updated = what; }
  void close_entry(uint64_t) override {}
  void each_entry(const std::string&, const std::function<void(const JournalEntry&)>&) override {}
  uint64_t opened = 0;
  json updated;
};

class Answers : public ::testing::Test {
 protected:
  Answers() {
    host_table();
    answers() = {{"list_vms", R"({"ref": "b", "name": "b", "power_state": null})"},
                 {"describe_vm", R"({"name": "a", "disks": [{"id": "d", "bytes": null}]})"},
                 {"plan", R"({"source": "stream", "sink": ["random"]})"},
                 {"convert", R"({"virtual_size": 4096, "bytes_written": 4096})"},
                 {"probe", R"({"format": "raw"})"},
                 {"info", R"({"location": "/a", "sink": ["random"]})"},
                 {"stat", R"({"key": "k", "bytes": 1, "location": "/a/k"})"},
                 {"list", R"({"key": "k", "bytes": 1, "location": "/a/k"})"},
                 {"commit", R"({"location": "/a/k", "bytes": 1})"},
                 {"finish", R"({"bytes": 4096})"},
                 {"keep", R"({"name": "k"})"}};
    PluginTables tables;
    tables.provider = *static_cast<const hyper_provider*>(hyper::Provider<Wrong>::table());
    tables.converter = *static_cast<const hyper_converter*>(hyper::Converter<Wrong>::table());
    tables.storage = *static_cast<const hyper_storage*>(hyper::Storage<Wrong>::table());
    tables.image = *static_cast<const hyper_image*>(hyper::Image<Wrong>::table());
    tables.serial = false;
    plugin_ = Plugin::of_tables("acme", "1.0.0", tables, {});
    provider_ = std::make_unique<ProviderHandle>(*plugin_, Options(), op_);
    converter_ = std::make_unique<ConverterHandle>(*plugin_, Options(), op_);
    storage_ = std::make_unique<StorageHandle>(*plugin_, Options(), op_);
    source_ = storage_->get(op_, "k");
    sink_ = storage_->put(op_, kPut);
  }

  json convert() { return converter_->convert(op_, kConversion, *source_, *sink_); }

  /// Every call, by the key of answers().
  std::map<std::string, std::function<json()>> calls() {
    return {{"list_vms",
             [&] {
               json all;
               provider_->list_vms(op_, "", [&](const json& vm) { all.push_back(vm); });
               return all;
             }},
            {"describe_vm", [&] { return provider_->describe_vm(op_, "a"); }},
            {"plan", [&] { return converter_->plan(op_, kConversion); }},
            {"convert", [&] { return convert(); }},
            {"probe", [&] { return ImageReader(*plugin_, Options()).probe(op_, *source_); }},
            {"info", [&] { return storage_->info(op_); }},
            {"stat", [&] { return storage_->stat(op_, "k"); }},
            {"list",
             [&] {
               json all;
               storage_->list(op_, "", [&](const json& object) { all.push_back(object); });
               return all;
             }},
            {"commit", [&] { return sink_->commit(op_, 1); }},
            {"finish", [&] { return source_->finish(op_); }},
            {"keep", [&] { return sink_->keep(op_); }}};
  }

  static std::string failure(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kFail) << error.what();
      return error.what();
    }
    return "it succeeds";
  }

  inline static const json kPut = {{"key", "k"}, {"overwrite", false}, {"durability", "none"}};
  inline static const json kConversion = {{"source", {{"format", "raw"}, {"access", {"seek"}}}},
                                          {"target", {{"format", "raw"}}},
                                          {"digest", false}};
  std::shared_ptr<NoJournal> journal_ = std::make_shared<NoJournal>();
  Operation op_{"web-01/disk-0", CancelSource::create(), {journal_}};
  std::unique_ptr<Plugin> plugin_;
  std::unique_ptr<ProviderHandle> provider_;
  std::unique_ptr<ConverterHandle> converter_;
  std::unique_ptr<StorageHandle> storage_;
  std::unique_ptr<SourceHandle> source_;
  std::unique_ptr<SinkHandle> sink_;
};

TEST_F(Answers, ThatAreRightArriveWithoutTheirNulls) {
  for (const auto& [name, call] : calls()) EXPECT_NO_THROW(call()) << name;
  EXPECT_EQ(calls()["describe_vm"](), json::parse(R"({"name": "a", "disks": [{"id": "d"}]})"));
  EXPECT_EQ(calls()["list_vms"]()[1], json::parse(R"({"ref": "b", "name": "b"})"));
}

TEST_F(Answers, ThatAreWrongNamePluginCallAndPointer) {
  const struct {
    const char *call, *answer, *pointer;
  } wrong[] = {
      {"list_vms", R"({"ref": "b", "name": "b", "disks": -1})", "/disks: "},
      {"list_vms", R"({"ref": "b"})", "the key 'name' is missing"},
      {"describe_vm", R"({"name": "a", "disks": [{"id": "d"}, {"id": "a b"}]})", "/disks/1/id: "},
      {"describe_vm", R"({"name": "a", "disks": {"id": "d"}})", "/disks: "},
      {"describe_vm", R"({"name": "a", "disks": [null]})", "/disks/0: "},
      {"plan", R"({"source": "stream", "sink": []})", "/sink: "},
      {"convert", R"({"virtual_size": 4096, "bytes_written": 1.5})", "/bytes_written: "},
      {"probe", R"({"format": "a format with blanks"})", "/format: "},
      {"info", R"({"location": "/a", "sink": ["random", "any"]})", "/sink/1: "},
      {"stat", R"({"key": "k", "bytes": "1", "location": "/a/k"})", "/bytes: "},
      {"list", R"({"key": "k", "bytes": 1})", "the key 'location' is missing"},
      {"commit", R"({"location": "/a/k", "bytes": 1, "checksum": "abc"})", "/checksum: "},
      {"finish", R"({"bytes": -5})", "/bytes: "},
      {"keep", R"({"must_understand": "all"})", "/must_understand: "},
  };
  for (const auto& one : wrong) {
    const std::string right = std::exchange(answers()[one.call], one.answer);
    const std::string said = failure([&] { calls()[one.call](); });
    answers()[one.call] = right;
    EXPECT_THAT(
        said, HasSubstr("plugin 'acme': " + std::string(one.call) + "() gave a wrong document: "));
    EXPECT_THAT(said, HasSubstr(one.pointer)) << one.answer;
  }
  for (const auto& [name, call] : calls()) EXPECT_NO_THROW(call()) << name;
}

TEST_F(Answers, AStateAndAJournalEntryAreCheckedBeforeTheyAreKept) {
  std::vector<std::string> saved;
  op_.on_checkpoint([&](const std::string& text) { saved.push_back(text); });
  answers()["state"] = R"({"kind": "x", "at": 7})";
  EXPECT_THAT(failure([&] { convert(); }),
              HasSubstr("save() of hyper.checkpoint/1 gave a wrong document: the key 'length' is "
                        "missing"));
  EXPECT_TRUE(saved.empty());
  answers()["state"] = R"({"length": 7, "at": null})";
  convert();
  EXPECT_EQ(saved, std::vector<std::string>{R"({"at":null,"length":7})"}) << "as it was written";

  answers()["entry"] = R"({"plugin": "acme", "ref": 7})";
  EXPECT_THAT(failure([&] { convert(); }),
              HasSubstr("plugin 'acme': open() of hyper.journal/1 gave a wrong document: /ref: "));
  EXPECT_EQ(journal_->opened, 0u);
  answers()["entry"] = R"({"plugin": "acme", "ref": "7", "mine": [1]})";
  convert();
  EXPECT_EQ(journal_->opened, 1u);
}

/// What an older build wrote must still be undone, whatever its members are.
TEST_F(Answers, AnEntryThatIsThereReachesItsPluginAsItWasWritten) {
  const json old = {
      {"plugin", "acme"},   {"where", {{"host", "a"}}}, {"ref", 7},
      {"task_id", nullptr}, {"wwn", {1, nullptr}},      {"must_understand", {"/wwn"}}};
  EXPECT_TRUE(storage_->undo(op_, old));
  EXPECT_EQ(json::parse(answers()["undone"]), old);
  EXPECT_TRUE(provider_->undo(op_, old));
  answers()["update"] = old.dump();  // the next run takes it over
  convert();
  EXPECT_EQ(journal_->updated, old);
}

}  // namespace
}  // namespace hyperhost
