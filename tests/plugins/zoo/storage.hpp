// SPDX-License-Identifier: Apache-2.0
// Objects in memory, for as long as the process lives.
#pragma once

#include <hyper/plugin.hpp>
#include <map>
#include <mutex>
#include <string>

#include "bad.hpp"

namespace zoo {

struct Objects {
  std::mutex mutex;
  std::map<std::string, std::string> byname;
  static Objects& all() {
    static Objects objects;
    return objects;
  }
};

class Object : public hyper::Source {
 public:
  explicit Object(std::string bytes) : bytes_(std::move(bytes)) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = bytes_.size();
    return traits;
  }
  void read_at(hyper::Op, uint64_t offset, void* buf, uint64_t len) override {
    bytes_.copy(static_cast<char*>(buf), len, offset);
  }

 private:
  const std::string bytes_;
};

class Sink : public hyper::Sink {
 public:
  Sink(std::string key, bool overwrite) : key_(std::move(key)), overwrite_(overwrite) {
    if (bad("visible-early")) Objects::all().byname[key_] = "";
  }
  ~Sink() override {
    if (!committed_ && bad("abort-leaves-object")) Objects::all().byname[key_ + ".part"] = bytes_;
  }
  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_READBACK;
    traits.max_parallel = 2;
    return traits;
  }
  void write_at(hyper::Op, uint64_t offset, const void* buf, uint64_t len) override {
    const std::lock_guard lock(mutex_);
    if (bad("append-only") && offset != bytes_.size()) offset = bytes_.size();
    if (bytes_.size() < offset + len) bytes_.resize(offset + len, '\0');
    bytes_.replace(offset, len, static_cast<const char*>(buf), len);
  }
  void zero_at(hyper::Op op, uint64_t offset, uint64_t len) override {
    const std::string zeros(len, '\0');
    write_at(op, offset, zeros.data(), len);
  }
  std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
    std::string bytes = bytes_;
    bytes.resize(length, '\0');
    return std::make_unique<Object>(std::move(bytes));
  }
  std::string commit(hyper::Op op, uint64_t length) override {
    op.check_cancelled();
    const std::lock_guard lock(Objects::all().mutex);
    if (!overwrite_ && !bad("overwrite") && Objects::all().byname.count(key_) != 0 &&
        !bad("visible-early"))
      throw hyper::Error(HYPER_EXISTS, key_ + " is there");
    bytes_.resize(bad("lose-a-byte") && length != 0 ? length - 1 : length, '\0');
    Objects::all().byname[key_] = bytes_;
    committed_ = true;
    return R"({"location": "memory:)" + key_ + R"(", "bytes": )" + std::to_string(length) + "}";
  }

 private:
  std::mutex mutex_;
  const std::string key_;
  const bool overwrite_;
  bool committed_ = false;
  std::string bytes_;
};

class Store : public hyper::StorageConnection {
 public:
  static std::unique_ptr<Store> connect(hyper::Doc, hyper::Op) { return std::make_unique<Store>(); }
  std::string info(hyper::Op) override { return R"({"location": "memory", "sink": ["random"]})"; }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc& request) override {
    const std::string key = request.string("/key");
    const std::string parts = "/" + key + "/";
    for (const char* wrong : {"//", "/./", "/../"})
      if (!bad("any-key") && parts.find(wrong) != std::string::npos)
        throw hyper::Error(HYPER_CONFIG, "'" + key + "' is no key");
    return std::make_unique<Sink>(key, request.boolean("/overwrite"));
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    const std::lock_guard lock(Objects::all().mutex);
    const auto found = Objects::all().byname.find(key);
    if (found == Objects::all().byname.end())
      throw hyper::Error(HYPER_NOTFOUND, "there is no " + key);
    return std::make_unique<Object>(found->second);
  }
  std::string stat(hyper::Op, const std::string& key) override {
    const std::lock_guard lock(Objects::all().mutex);
    const auto found = Objects::all().byname.find(key);
    return found == Objects::all().byname.end() ? "" : document(*found);
  }
  void list(hyper::Op, const std::string& prefix, const hyper::Emit& emit) override {
    const std::lock_guard lock(Objects::all().mutex);
    for (const auto& object : Objects::all().byname)
      if (object.first.rfind(prefix, 0) == 0) emit(document(object));
  }
  void remove(hyper::Op, const std::string& key) override {
    const std::lock_guard lock(Objects::all().mutex);
    if (!bad("remove-nothing") && Objects::all().byname.erase(key) == 0)
      throw hyper::Error(HYPER_NOTFOUND, "there is no " + key);
  }

 private:
  static std::string document(const std::pair<const std::string, std::string>& object) {
    return R"({"key": ")" + object.first + R"(", "bytes": )" +
           std::to_string(object.second.size()) + R"(, "location": "memory:)" + object.first +
           "\"}";
  }
};

}  // namespace zoo
