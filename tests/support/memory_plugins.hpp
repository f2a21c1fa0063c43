// SPDX-License-Identifier: Apache-2.0
// Plugins that live in the test's own process: a provider of VMs, a converter that copies guest
// bytes, a storage whose unfinished objects stay in memory. A test owns one MemoryWorld, reads
// afterwards what was called, and makes any call fail. Several threads may call at once.
#pragma once

#include <fnmatch.h>
#include <gtest/gtest.h>
#include <hyper/interfaces.hpp>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/clock.hpp"
#include "core/migrate/session.hpp"
#include "core/plugin/document_schema.hpp"
#include "core/run/orchestrator.hpp"
#include "core/state/resume_store.hpp"

namespace hyperhost::testing_memory {

using nlohmann::json;

struct MemoryDisk {
  std::string id, bytes;
  std::string content_id;  ///< "" = the provider cannot tell
  bool seekable = true;
};

struct MemoryVm {
  std::string name;
  std::vector<MemoryDisk> disks;
  std::string host, datastore;
};

/// What the plugins below read and write. One at a time in a process.
class MemoryWorld {
 public:
  MemoryWorld() { current() = this; }
  ~MemoryWorld() { current() = nullptr; }
  MemoryWorld(const MemoryWorld&) = delete;
  MemoryWorld& operator=(const MemoryWorld&) = delete;

  std::map<std::string, MemoryVm> vms;
  std::map<std::string, std::string> unfinished;  ///< by the name in the sink's token
  std::map<std::string, std::string> bucket;      ///< objects of the storage "memory-bucket"
  std::map<std::string, std::string> answers;     ///< a commit's, in place of the right one
  bool rot = false;  ///< a written disk is read back with another byte in its middle
  /// Called with each call's text before it does anything; throws hyper::Error to make it fail.
  std::function<void(const std::string& call)> on_call;

  void call(const std::string& text) {
    {
      const std::lock_guard lock(mutex);
      calls_.push_back(text);
    }
    if (on_call) on_call(text);
  }
  std::vector<std::string> calls() const {
    const std::lock_guard lock(mutex);
    return calls_;
  }
  std::size_t count(const std::string& text) const {
    const std::lock_guard lock(mutex);
    return static_cast<std::size_t>(std::count(calls_.begin(), calls_.end(), text));
  }
  void forget_calls() {
    const std::lock_guard lock(mutex);
    calls_.clear();
  }

  static MemoryWorld*& current() {
    static MemoryWorld* world = nullptr;
    return world;
  }
  static MemoryWorld& here() { return *current(); }

  mutable std::mutex mutex;  ///< of the maps too

 private:
  std::vector<std::string> calls_;
};

/// Every member of the host's request is in its schema.
inline void expect_described(const json& schema, const json& request, const std::string& at) {
  if (!schema.contains("properties")) return;  // its members are somebody else's
  for (const auto& [key, member] : request.items()) {
    EXPECT_TRUE(schema["properties"].contains(key)) << "no schema has " << at << "/" << key;
    if (schema["properties"].contains(key) && member.is_object())
      expect_described(schema["properties"][key], member, at + "/" + key);
  }
}

/// What the host passed to a plugin, which must be as the request's schema says.
inline json asked_as(const char* document, const hyper::Doc& request) {
  json asked = json::parse(request.json());
  for (const Diagnostic& problem : document_problems(document, asked))
    ADD_FAILURE() << document << problem.path << ": " << problem.summary << ", in " << asked;
  expect_described(document_schema(document), asked, document);
  return asked;
}

class BytesSource final : public hyper::Source {
 public:
  BytesSource(std::string bytes, bool seekable, std::string name = {})
      : bytes_(std::move(bytes)), seekable_(seekable), name_(std::move(name)) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits out;
    out.flags = seekable_ ? HYPER_SOURCE_SEEK : HYPER_SOURCE_STREAM;
    out.length = bytes_.size();
    out.max_parallel = 4;
    out.format = "raw";
    return out;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) override {
    op.check_cancelled();
    if (!name_.empty()) MemoryWorld::here().call("read " + name_);
    std::memcpy(buffer, bytes_.data() + offset, length);
  }
  std::pair<const void*, uint64_t> next(hyper::Op op) override {
    op.check_cancelled();
    if (!name_.empty()) MemoryWorld::here().call("read " + name_);
    const std::size_t from = std::exchange(at_, bytes_.size());
    return {bytes_.data() + from, bytes_.size() - from};
  }

 private:
  const std::string bytes_;
  const bool seekable_;
  const std::string name_;
  std::size_t at_ = 0;
};

class MemoryProvider final : public hyper::ProviderConnection {
 public:
  static std::unique_ptr<MemoryProvider> connect(const hyper::Doc& config, hyper::Op) {
    MemoryWorld::here().call("connect " + config.string("/name", "memory"));
    return std::make_unique<MemoryProvider>();
  }
  void list_vms(hyper::Op, const char* pattern, const hyper::Emit& emit) override {
    for (const auto& [ref, vm] : MemoryWorld::here().vms)
      if (pattern == nullptr || *pattern == '\0' || fnmatch(pattern, vm.name.c_str(), 0) == 0)
        emit(json{{"ref", ref}, {"name", vm.name}}.dump());
  }
  std::string describe_vm(hyper::Op, const std::string& vm) override {
    MemoryWorld::here().call("describe " + vm);
    const MemoryVm& found = vm_of(vm);
    json disks = json::array();
    for (const MemoryDisk& disk : found.disks)
      disks.push_back({{"id", disk.id},
                       {"format", "raw"},
                       {"capacity_bytes", disk.bytes.size()},
                       {"bytes", disk.bytes.size()},
                       {"access", {disk.seekable ? "seek" : "stream"}},
                       {"datastore", found.datastore},
                       {"content_id", disk.content_id}});
    return json{{"ref", vm}, {"name", found.name}, {"host", found.host}, {"disks", disks}}.dump();
  }
  void preflight(hyper::Op, const hyper::Doc& request) override { asked_as("vm.request", request); }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc& request) override {
    const std::string vm = asked_as("vm.request", request).at("vm");
    MemoryWorld::here().call("open " + vm);
    return std::make_unique<Vm>(vm);
  }

 private:
  static const MemoryVm& vm_of(const std::string& name) {
    const auto& vms = MemoryWorld::here().vms;
    const auto found = vms.find(name);
    if (found == vms.end()) throw hyper::Error(HYPER_NOTFOUND, "there is no VM " + name);
    return found->second;
  }
  class Vm final : public hyper::ProviderVm {
   public:
    explicit Vm(std::string name) : name_(std::move(name)) {}
    std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string& id, uint32_t) override {
      MemoryWorld::here().call("open " + name_ + "/" + id);
      for (const MemoryDisk& disk : vm_of(name_).disks)
        if (disk.id == id)
          return std::make_unique<BytesSource>(disk.bytes, disk.seekable, name_ + "/" + id);
      throw hyper::Error(HYPER_NOTFOUND, "there is no disk " + id);
    }
    void close(hyper::Op, hyper_st outcome) override {
      MemoryWorld::here().call("close " + name_ + (outcome == HYPER_OK ? "" : " failed"));
    }

   private:
    const std::string name_;
  };
};

/// Copies a raw disk in two halves with a checkpoint between them.
class MemoryConverter final : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<MemoryConverter> open(const hyper::Doc&, hyper::Op) {
    MemoryWorld::here().call("open converter");
    return std::make_unique<MemoryConverter>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    const json asked = asked_as("converter.request", request);
    if (asked.at("target").at("format") != "raw")
      throw hyper::Error(HYPER_UNSUPPORTED, "only raw can be written");
    return R"({"source": "stream", "sink": ["random"], "digest": false})";
  }
  std::string convert(hyper::Op op, const hyper::Doc& request, hyper::SourceRef source,
                      hyper::SinkRef sink) override {
    const json asked = asked_as("converter.request", request);
    std::string bytes(source.length(), '\0');
    if (source.can(HYPER_SOURCE_SEEK)) {
      source.read_at(op, 0, bytes.data(), bytes.size());
    } else {
      const hyper::Span span = source.next(op);
      bytes.assign(reinterpret_cast<const char*>(span.data()), span.size());
    }
    const json checkpoint = asked.value("checkpoint", json::object());
    const uint64_t from = checkpoint.contains("state") ? checkpoint["state"].value("at", 0u) : 0;
    const uint64_t half = bytes.size() / 2;
    if (from < half) {
      sink.write_at(op, 0, bytes.data(), half);
      hyper::Checkpoint::save(op, json{{"length", half}, {"at", half}}.dump());
      op.progress(half, bytes.size());
      MemoryWorld::here().call("half " + bytes.substr(0, 4));
    }
    sink.write_at(op, half, bytes.data() + half, bytes.size() - half);
    op.progress(bytes.size(), bytes.size());
    return json{
        {"virtual_size", bytes.size()}, {"bytes_written", bytes.size()}, {"resumed_bytes", from}}
        .dump();
  }
};

/// Reads raw images, which is what the converter writes.
struct MemoryImage {
  static std::string probe(const hyper::Doc&, hyper::Op, hyper::SourceRef) {
    return R"({"format": "raw"})";
  }
  static std::unique_ptr<hyper::Source> open(const hyper::Doc&, hyper::Op op,
                                             hyper::SourceRef source, const hyper::Doc& request) {
    asked_as("image.request", request);
    std::string bytes(source.length(), '\0');
    source.read_at(op, 0, bytes.data(), bytes.size());
    return std::make_unique<BytesSource>(std::move(bytes), true);
  }
};

/// Where finished objects go: a directory of the test or MemoryWorld::bucket.
template <bool kLocal>
class MemoryStorage final : public hyper::StorageConnection {
 public:
  static std::unique_ptr<MemoryStorage> connect(const hyper::Doc& config, hyper::Op) {
    auto self = std::make_unique<MemoryStorage>();
    self->directory_ = config.string("/path");
    return self;
  }
  std::string info(hyper::Op) override {
    return json{{"location", location("")}, {"sink", {"random", "readback"}}}.dump();
  }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc& request) override {
    const json asked = asked_as("storage.put", request);
    const std::string key = asked.at("key");
    MemoryWorld& world = MemoryWorld::here();
    world.call("put " + name() + key);
    if (!asked.value("overwrite", false) && exists(key))
      throw hyper::Error(HYPER_EXISTS, key + " exists");
    if (!asked.contains("resume")) return std::make_unique<Object>(*this, key, std::string());
    const std::lock_guard lock(world.mutex);
    const auto found = world.unfinished.find(asked["resume"].value("name", ""));
    if (found == world.unfinished.end())
      throw hyper::Error(HYPER_NOTFOUND, "the unfinished object is gone");
    std::string bytes = std::exchange(found->second, {});
    world.unfinished.erase(found);
    bytes.resize(std::min<std::size_t>(bytes.size(), asked.value("resume_length", uint64_t{0})));
    return std::make_unique<Object>(*this, key, std::move(bytes));
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    return std::make_unique<BytesSource>(read(key), true);
  }
  std::string stat(hyper::Op, const std::string& key) override {
    MemoryWorld::here().call("stat " + name() + key);
    if (!exists(key)) return {};
    return json{{"key", key}, {"bytes", read(key).size()}, {"location", location(key)}}.dump();
  }
  void list(hyper::Op, const std::string&, const hyper::Emit&) override {}
  void remove(hyper::Op, const std::string& key) override {
    MemoryWorld::here().call("remove " + name() + key);
    if (kLocal)
      std::filesystem::remove(location(key));
    else
      MemoryWorld::here().bucket.erase(key);
  }

 private:
  static std::string name() { return kLocal ? "" : "bucket:"; }
  std::string location(const std::string& key) const {
    return kLocal ? directory_ + "/" + key : "memory://bucket/" + key;
  }
  bool exists(const std::string& key) const {
    if (kLocal) return std::filesystem::exists(location(key));
    const std::lock_guard lock(MemoryWorld::here().mutex);
    return MemoryWorld::here().bucket.contains(key);
  }
  std::string read(const std::string& key) const {
    if (!kLocal) {
      const std::lock_guard lock(MemoryWorld::here().mutex);
      return MemoryWorld::here().bucket.at(key);
    }
    std::ifstream file(location(key), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void finish(const std::string& key, const std::string& bytes) const {
    if (!kLocal) {
      const std::lock_guard lock(MemoryWorld::here().mutex);
      MemoryWorld::here().bucket[key] = bytes;
      return;
    }
    std::filesystem::create_directories(std::filesystem::path(location(key)).parent_path());
    std::ofstream(location(key), std::ios::binary) << bytes;
  }

  class Object final : public hyper::Sink {
   public:
    Object(const MemoryStorage& store, std::string key, std::string bytes)
        : store_(store), key_(std::move(key)), bytes_(std::move(bytes)) {}
    ~Object() override {
      if (done_) return;
      MemoryWorld& world = MemoryWorld::here();
      const std::lock_guard lock(world.mutex);
      if (kept_) world.unfinished[name() + key_] = bytes_;
    }
    hyper::SinkTraits traits() const override {
      hyper::SinkTraits out;
      out.flags = HYPER_SINK_RANDOM | HYPER_SINK_READBACK | HYPER_SINK_RESUME;
      out.max_parallel = 4;
      return out;
    }
    void write_at(hyper::Op op, uint64_t offset, const void* data, uint64_t length) override {
      op.check_cancelled();
      MemoryWorld::here().call("write " + name() + key_);
      if (bytes_.size() < offset + length) bytes_.resize(offset + length);
      std::memcpy(bytes_.data() + offset, data, length);
    }
    std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
      std::string bytes = bytes_.substr(0, length);
      if (MemoryWorld::here().rot) bytes.at(bytes.size() / 2) ^= 1;
      return std::make_unique<BytesSource>(std::move(bytes), true);
    }
    std::string commit(hyper::Op, uint64_t length) override {
      MemoryWorld::here().call("commit " + name() + key_);
      bytes_.resize(length);
      store_.finish(key_, bytes_);
      done_ = true;
      const auto& answers = MemoryWorld::here().answers;
      if (const auto found = answers.find(name() + key_); found != answers.end())
        return found->second;
      return json{{"location", store_.location(key_)},
                  {"bytes", length},
                  {"url", kLocal ? "" : "https://signed/" + key_}}
          .dump();
    }
    std::string keep(hyper::Op, bool on) override {
      MemoryWorld::here().call((on ? "keep " : "drop ") + name() + key_);
      kept_ = on;
      return on ? json{{"name", name() + key_}}.dump() : std::string();
    }

   private:
    const MemoryStorage& store_;
    const std::string key_;
    std::string bytes_;
    bool kept_ = false, done_ = false;
  };

  std::string directory_;
};

class MemoryResumeStore final : public ResumeStore {
 public:
  std::vector<ResumeRecord> resume_records(const std::string& target) override {
    const std::lock_guard lock(mutex_);
    std::vector<ResumeRecord> out;
    for (const auto& [key, record] : records_)
      if (key.first == target) out.push_back(record);
    return out;
  }
  void save_resume(const ResumeRecord& record) override {
    const std::lock_guard lock(mutex_);
    records_[{record.target, record.disk}] = record;
  }
  void finish_resume(const ResumeRecord& record) override {
    forget_resume(record.target);
    save_resume(record);
  }
  void forget_resume(const std::string& target) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(records_, [&](const auto& entry) { return entry.first.first == target; });
  }
  void forget_resume(const std::string& target, const std::string& disk) override {
    const std::lock_guard lock(mutex_);
    records_.erase({target, disk});
  }
  /// "disk-0 written", "vm finished" …
  std::vector<std::string> phases() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [key, record] : records_)
      out.push_back((record.disk.empty() ? "vm" : record.disk) + " " + record.phase);
    return out;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, ResumeRecord> records_;
};

/// Stands still until a test moves it.
class HandClock final : public HostClock {
 public:
  WallClock::time_point wall() const override {
    return WallClock::time_point(std::chrono::seconds(1767323045)) + elapsed();  // 2026-01-02
  }
  std::chrono::steady_clock::time_point steady() const override {
    return std::chrono::steady_clock::time_point(std::chrono::hours(1)) + elapsed();
  }
  void advance(std::chrono::seconds by) { seconds_ += by.count(); }

 private:
  std::chrono::seconds elapsed() const { return std::chrono::seconds(seconds_.load()); }
  std::atomic<int64_t> seconds_{0};
};

/// A directory, a world, a registry of the plugins above. Derive a fixture from it.
class MemoryHost : public ::testing::Test {
 protected:
  MemoryHost() {
    char name[] = "/tmp/hyperhost-memory-XXXXXX";
    directory_ = ::mkdtemp(name);
    host_table();  // sets the C++ face's host
    PluginTables vms, converter, local, bucket;
    vms.provider = *static_cast<const hyper_provider*>(hyper::Provider<MemoryProvider>::table());
    converter.converter =
        *static_cast<const hyper_converter*>(hyper::Converter<MemoryConverter>::table());
    converter.image = *static_cast<const hyper_image*>(hyper::Image<MemoryImage>::table());
    local.storage =
        *static_cast<const hyper_storage*>(hyper::Storage<MemoryStorage<true>>::table());
    bucket.storage =
        *static_cast<const hyper_storage*>(hyper::Storage<MemoryStorage<false>>::table());
    add("memory-vms", vms, {HYPER_IFACE_PROVIDER});
    add("memory-convert", converter, {HYPER_IFACE_CONVERTER, HYPER_IFACE_IMAGE},
        {{"formats",
          {{{"name", "raw"}, {"read", true}, {"write", true}, {"extensions", {".raw"}}}}}});
    add("memory-files", local, {HYPER_IFACE_STORAGE},
        {{"destinations", {{{"scheme", "file"}, {"path", "/path"}}}}});
    add("memory-bucket", bucket, {HYPER_IFACE_STORAGE});
  }
  ~MemoryHost() override { std::filesystem::remove_all(directory_); }

  void add(const std::string& id, PluginTables tables, const std::vector<std::string>& interfaces,
           json manifest = json::object()) {
    tables.serial = false;
    manifest.update({{"id", id}, {"version", "1.0.0"}, {"interfaces", interfaces}});
    registry_.add(Plugin::of_tables(id, "1.0.0", tables, {}), manifest);
  }

  SessionServices services() const { return {nullptr, resume_, clock_}; }
  static std::map<std::string, PluginChoice> providers() {
    return {{"lab", {"memory-vms", Options()}}};
  }
  MigrationOrchestrator orchestrator() {
    OrchestratorConfig config;
    config.providers = providers();
    return MigrationOrchestrator(config, registry_, services());
  }

  /// A VM of one disk a text, "disk-0" …; its content is known by a hash of the text.
  void add_vm(const std::string& name, const std::vector<std::string>& disks) {
    MemoryVm vm{name, {}, "", ""};
    for (const std::string& bytes : disks)
      vm.disks.push_back({"disk-" + std::to_string(vm.disks.size()), bytes,
                          std::to_string(std::hash<std::string>()(bytes)), true});
    world_.vms[name] = std::move(vm);
  }
  MigrationConfig config(const std::string& vm) const {
    MigrationConfig out;
    out.vm_name = vm;
    out.provider = "lab";
    out.output_dir = directory_;
    out.target_format = "raw";
    out.converter.plugin = "memory-convert";
    out.verify_export = Verify::kNone;
    out.max_parallel_disks = 1;
    return out;
  }
  MigrationConfig uploading(const std::string& vm) const {
    MigrationConfig out = config(vm);
    out.upload_to_cloud = true;
    out.cloud_destination = "memory://bucket";
    out.storage.plugin = "memory-bucket";
    return out;
  }
  std::filesystem::path file(const std::string& key) const { return directory_ / key; }
  std::string content(const std::string& key) const {
    std::ifstream in(file(key), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path directory_;
  MemoryWorld world_;
  PluginRegistry registry_{std::vector<SearchDir>{}};
  std::shared_ptr<MemoryResumeStore> resume_ = std::make_shared<MemoryResumeStore>();
  std::shared_ptr<HandClock> clock_ = std::make_shared<HandClock>();
  std::shared_ptr<CancelSource> cancel_ = CancelSource::create();
};

}  // namespace hyperhost::testing_memory
