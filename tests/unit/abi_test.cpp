// SPDX-License-Identifier: Apache-2.0
// The ABI's promises that are kept by the host and by the C++ face together: documents, flags that
// are not known, members that must be understood, the operation of a close, abilities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <hyper/plugin.hpp>
#include <ios>
#include <system_error>
#include <thread>

#include "core/plugin/documents.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

using hyper::Doc;
using hyper::DocBuilder;
using ::testing::HasSubstr;

class Abi : public ::testing::Test {
 protected:
  const hyper_host& host_ = *host_table();  // the face of this program uses it too
};

TEST_F(Abi, ADocumentReadsByPointer) {
  const hyper_doc text{nlohmann::json::parse(
      R"({"a": {"b/c": [1, 2.5, "x", true, null]}, "big": 18446744073709551615, "m~n": {}})")};
  const Doc doc(&text);
  EXPECT_EQ(doc.integer("/a/b~1c/0"), 1);
  EXPECT_EQ(doc.number("/a/b~1c/0"), 1.0);
  EXPECT_EQ(doc.number("/a/b~1c/1"), 2.5);
  EXPECT_EQ(doc.string("/a/b~1c/2"), "x");
  EXPECT_TRUE(doc.boolean("/a/b~1c/3"));
  EXPECT_TRUE(doc.is_null("/a/b~1c/4"));
  EXPECT_EQ(doc.size("/a/b~1c"), 5u);
  EXPECT_FALSE(doc.has("/a/b~1c/5"));
  EXPECT_FALSE(doc.has("no pointer"));
  EXPECT_TRUE(doc.is_object("/m~0n"));
  EXPECT_EQ(doc.integer("/big", -7), -7) << "what int64 does not hold is no integer";
  EXPECT_GT(doc.number("/big"), 1.8e19);
  std::vector<std::string> keys;
  doc.each_member("/a", [&](const std::string& key, const Doc& value) {
    keys.push_back(key);
    EXPECT_EQ(value.size(), 5u);
  });
  EXPECT_EQ(keys, std::vector<std::string>{"b/c"});
  EXPECT_EQ(doc.json("/a/b~1c/2"), "\"x\"");
  EXPECT_THROW(static_cast<void>(doc.need_string("/a")), hyper::Error);
  EXPECT_FALSE(Doc().has("")) << "no document at all";
}

TEST_F(Abi, ADocumentIsBuiltByPointer) {
  DocBuilder built;
  built.set("/name", "web \"01\"").set("/n", uint64_t{1} << 40).set("/yes", true);
  built.set("/disks/-/id", "disk-0").set("/disks/0/access", {"seek", "file"});
  built.append("/disks", DocBuilder().set("/id", "disk-1"));
  built.set("/none", nullptr).object("/empty").array("/list");
  EXPECT_EQ(nlohmann::json::parse(built.json()), nlohmann::json::parse(R"({
    "name": "web \"01\"", "n": 1099511627776, "yes": true, "none": null, "empty": {}, "list": [],
    "disks": [{"id": "disk-0", "access": ["seek", "file"]}, {"id": "disk-1"}]})"));
  built.set("/copy", built.doc().at("/disks/1"));
  EXPECT_EQ(built.doc().string("/copy/id"), "disk-1");
  EXPECT_THROW(built.set("/name/first", 1), hyper::Error) << "a text has no members";
  EXPECT_THROW(built.set("/disks/7", 1), hyper::Error) << "arrays have no gaps";
  EXPECT_THROW(built.set("/bad", std::string("\xff\xfe")), hyper::Error);
  EXPECT_THROW(built.set("name", 1), hyper::Error) << "no pointer";
}

TEST_F(Abi, HostileTextIsNoDocument) {
  EXPECT_THROW(DocBuilder::parse("{"), hyper::Error);
  EXPECT_THROW(DocBuilder::parse(std::string(100'000, '[')), hyper::Error);
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  EXPECT_THROW(DocBuilder::parse(deep), hyper::Error);
  EXPECT_FALSE(parse_document(deep));
  EXPECT_TRUE(parse_document(std::string(100, '[') + std::string(100, ']')));
  EXPECT_FALSE(parse_document('"' + std::string(17u << 20, 'x') + '"'));
  std::string pointer;
  for (int i = 0; i < 1000; ++i) pointer += "/x";
  EXPECT_THROW(DocBuilder().set(pointer, 1), hyper::Error);
}

/// A small table, as a plugin of an older host has it, is filled up to its size only.
TEST_F(Abi, AValueIsWrittenUpToTheReadersSize) {
  const hyper_doc doc{nlohmann::json{{"a", "text"}}};
  hyper_val value{};
  value.size = offsetof(hyper_val, str);
  value.len = 77;
  ASSERT_EQ(host_.doc_get(&doc, "/a", &value), HYPER_OK);
  EXPECT_EQ(value.type, HYPER_VAL_STRING);
  EXPECT_EQ(value.str, nullptr);
  EXPECT_EQ(value.len, 77u);
}

struct Seen {
  int reads = 0, puts = 0;
  std::string closed_by, disconnected_by;
  bool was_cancelled = true;
};
Seen seen;

class Bytes : public hyper::Source {
 public:
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = 4096;
    return traits;
  }
  void read_at(hyper::Op, uint64_t, void* buf, uint64_t len) override {
    ++seen.reads;
    std::memset(buf, 1, len);
  }
  void close(hyper::Op op) override {
    seen.closed_by = static_cast<Operation*>(op.raw())->name();
    seen.was_cancelled = op.cancelled();
  }
  const void* get_ext(const char* id, void** self) noexcept override {
    if (std::strcmp(id, "test.answer/1") != 0) return nullptr;
    *self = this;
    static const int answer = 42;
    return &answer;
  }
};

class Store : public hyper::StorageConnection {
 public:
  static std::unique_ptr<Store> connect(const Doc&, hyper::Op) { return std::make_unique<Store>(); }
  std::string info(hyper::Op) override { return R"({"location": "x", "sink": ["random"]})"; }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const Doc&) override {
    ++seen.puts;
    throw hyper::Error(HYPER_NOSPACE, "full");
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string&) override {
    return std::make_unique<Bytes>();
  }
  std::string stat(hyper::Op, const std::string& key) override {
    return key == "new"
               ? R"({"key": "new", "bytes": 1, "location": "x", "locked": true,
                             "must_understand": ["/locked"]})"
               : R"({"key": "old", "bytes": 1, "location": "x", "must_understand": ["/bytes"]})";
  }
  void list(hyper::Op, const std::string&, const hyper::Emit&) override {}
  void remove(hyper::Op, const std::string&) override {}
  void disconnect(hyper::Op op) override {
    seen.disconnected_by = static_cast<Operation*>(op.raw())->name();
    throw hyper::Error(HYPER_IO, "the goodbye got lost");
  }
  bool understands(const std::string& pointer) override { return pointer == "/acme/shelf"; }
};

std::unique_ptr<Plugin> store_plugin() {
  PluginTables tables;
  tables.storage = *static_cast<const hyper_storage*>(hyper::Storage<Store>::table());
  tables.serial = false;
  return Plugin::of_tables("store", "1.0.0", tables, {});
}

TEST_F(Abi, AFlagThatIsNotKnownEndsTheCallBeforeItBegins) {
  const auto plugin = store_plugin();
  Operation op("web-01", CancelSource::create());
  StorageHandle storage(*plugin, Options(), op);
  const auto source = storage.get(op, "disk");
  const hyper_source& table = source->table();
  char buffer[16];
  seen.reads = 0;
  EXPECT_EQ(table.read_at(table.ctx, &op, 1u << 31, 0, buffer, sizeof buffer), HYPER_UNSUPPORTED);
  EXPECT_EQ(seen.reads, 0);
  ASSERT_FALSE(op.diagnostics().empty());
  EXPECT_THAT(op.diagnostics().back().summary, HasSubstr("flag"));
  EXPECT_EQ(table.read_at(table.ctx, &op, 0, 0, buffer, sizeof buffer), HYPER_OK);
}

TEST_F(Abi, ACloseHasAnOperationOfItsOwn) {
  seen = {};
  const auto plugin = store_plugin();
  const auto cancel = CancelSource::create();
  {
    Operation op("web-01", cancel);
    StorageHandle storage(*plugin, Options(), op);
    Operation disk("web-01/disk-0", cancel);
    const auto source = storage.get(disk, "disk");
    cancel->cancel();
  }
  EXPECT_EQ(seen.closed_by, "web-01/disk-0");
  EXPECT_FALSE(seen.was_cancelled) << "the run's cancel is not that of its cleaning up";
  EXPECT_EQ(seen.disconnected_by, "web-01");
}

TEST_F(Abi, AClosingOperationHasATimeLimit) {
  ClosingOperation op("web-01", std::chrono::milliseconds(30));
  EXPECT_EQ(host_.cancelled(&op), 0);
  EXPECT_EQ(host_.sleep(&op, 5'000'000'000), HYPER_CANCELLED);
  EXPECT_EQ(host_.cancelled(&op), 1);
  const auto child = op.cancel().child();
  EXPECT_TRUE(child->cancelled());
}

TEST_F(Abi, AnAbilityIsFoundByItsId) {
  const auto plugin = store_plugin();
  Operation op("web-01", CancelSource::create());
  StorageHandle storage(*plugin, Options(), op);
  const auto source = storage.get(op, "disk");
  const hyper::SourceRef ref(&source->table());
  const auto [answer, self] = ref.ext<int>("test.answer/1");
  ASSERT_NE(answer, nullptr);
  EXPECT_EQ(*answer, 42);
  EXPECT_NE(self, nullptr);
  EXPECT_EQ(ref.ext<int>("test.answer/2").first, nullptr);
}

TEST_F(Abi, ARequestIsRefusedWhoseMembersMustBeUnderstoodAndAreNot) {
  const auto plugin = store_plugin();
  Operation op("web-01", CancelSource::create());
  StorageHandle storage(*plugin, Options(), op);
  const auto put = [&](const char* member) {
    try {
      static_cast<void>(storage.put(op, {{"key", "k"}, {"must_understand", {member}}}));
    } catch (const Error& error) {
      return error.diagnostic();
    }
    return Diagnostic{};
  };
  seen.puts = 0;
  const Diagnostic refused = put("/encryption/key");
  EXPECT_EQ(refused.code, Code::kUnsupported);
  EXPECT_EQ(refused.path, "/encryption/key");
  EXPECT_EQ(seen.puts, 0);
  for (const char* known : {"/overwrite", "/metadata/vm", "/metadata", "/acme/shelf"})
    EXPECT_EQ(put(known).code, Code::kNoSpace) << known;
  EXPECT_EQ(put("/over").code, Code::kUnsupported) << "a part of a name is another name";
}

TEST_F(Abi, AnAnswerIsRefusedWhoseMembersMustBeUnderstoodAndAreNot) {
  const auto plugin = store_plugin();
  Operation op("web-01", CancelSource::create());
  StorageHandle storage(*plugin, Options(), op);
  EXPECT_EQ(storage.stat(op, "old")["bytes"], 1);
  try {
    static_cast<void>(storage.stat(op, "new"));
    ADD_FAILURE() << "an answer that this host cannot understand";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUnsupported);
    EXPECT_EQ(error.diagnostic().path, "/locked");
    EXPECT_THAT(error.what(), HasSubstr("plugin 'store': stat()"));
  }
}

/// What a call of the C++ face reports when its code throws `failure`.
template <class Failure>
Diagnostic reported(const Failure& failure) {
  Operation op("web-01", CancelSource::create());
  const hyper_st status = hyper::detail::guard(&op, [&] { throw failure; });
  const auto all = op.diagnostics();
  EXPECT_EQ(all.size(), 1u);
  EXPECT_EQ(status, all.empty() ? HYPER_OK : static_cast<hyper_st>(all.back().code));
  return all.empty() ? Diagnostic{} : all.back();
}

TEST_F(Abi, WhatTheStandardLibraryThrowsKeepsItsErrno) {
  const std::pair<int, Code> statuses[] = {{ENOSPC, Code::kNoSpace},  {EACCES, Code::kAuth},
                                           {ENOENT, Code::kNotFound}, {EEXIST, Code::kExists},
                                           {EAGAIN, Code::kBusy},     {EIO, Code::kIo}};
  for (const auto& [number, code] : statuses) {
    for (const std::error_category* category :
         {&std::system_category(), &std::generic_category()}) {
      const Diagnostic found = reported(std::system_error(number, *category, "write"));
      EXPECT_EQ(found.code, code) << number;
      EXPECT_EQ(found.native_code, number);
      EXPECT_THAT(found.summary, testing::StartsWith("write: "));
    }
  }
  try {
    static_cast<void>(std::filesystem::file_size("/dev/null/no"));
    FAIL() << "/dev/null is a directory";
  } catch (const std::filesystem::filesystem_error& failure) {
    EXPECT_EQ(reported(failure).code, Code::kNotFound);
    EXPECT_THAT(reported(failure).summary, HasSubstr("/dev/null/no"));
  }
  const Diagnostic stream = reported(std::ios_base::failure("read"));
  EXPECT_EQ(stream.code, Code::kFail) << "1 is no errno there";
  EXPECT_EQ(stream.native_code, 0);
  EXPECT_EQ(stream.summary, "internal error of the plugin");
}

TEST_F(Abi, AFindingKeepsItsRule) {
  Operation op("web-01", CancelSource::create());
  hyper::Op(&op).warn(hyper::Error(HYPER_FAIL, "names by device").rule("guest.fstab-by-name"));
  ASSERT_EQ(op.diagnostics().size(), 1u);
  EXPECT_EQ(op.diagnostics()[0].rule, "guest.fstab-by-name");
}

}  // namespace
}  // namespace hyperhost
