// SPDX-License-Identifier: Apache-2.0
// A store below ROOT/SHARE/FOLDER or ROOT/SHARE/PORT: objects are kept in memory until their
// commit.
#pragma once

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <hyper/plugin.hpp>
#include <iterator>
#include <mutex>
#include <string>

namespace acme {

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
  Sink(std::filesystem::path path, bool overwrite)
      : path_(std::move(path)), overwrite_(overwrite) {}
  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_READBACK;
    traits.max_parallel = 2;
    return traits;
  }
  void write_at(hyper::Op, uint64_t offset, const void* buf, uint64_t len) override {
    const std::lock_guard lock(mutex_);
    if (bytes_.size() < offset + len) bytes_.resize(offset + len, '\0');
    bytes_.replace(offset, len, static_cast<const char*>(buf), len);
  }
  void zero_at(hyper::Op op, uint64_t offset, uint64_t len) override {
    const std::string zeros(len, '\0');
    write_at(op, offset, zeros.data(), len);
  }
  std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
    return std::make_unique<Object>(bytes_.substr(0, length));
  }
  std::string commit(hyper::Op, uint64_t length) override {
    if (!overwrite_ && std::filesystem::exists(path_))
      throw hyper::Error(HYPER_EXISTS, path_.string() + " is there");
    bytes_.resize(length, '\0');
    std::filesystem::create_directories(path_.parent_path());
    std::ofstream out(path_, std::ios::binary | std::ios::trunc);
    out << bytes_;
    if (!out.flush()) throw hyper::Error(HYPER_IO, path_.string() + " cannot be written");
    return hyper::DocBuilder().set("/location", path_.string()).set("/bytes", length).json();
  }

 private:
  std::mutex mutex_;
  const std::filesystem::path path_;
  const bool overwrite_;
  std::string bytes_;
};

class Store : public hyper::StorageConnection {
 public:
  explicit Store(std::filesystem::path directory) : directory_(std::move(directory)) {}
  static std::unique_ptr<Store> connect(const hyper::Doc& options, hyper::Op) {
    if (options.string("/root").empty())
      throw hyper::Error(HYPER_CONFIG, "the store has no root").at("/root");
    const std::filesystem::path share =
        std::filesystem::path(options.string("/root")) / options.string("/share");
    const std::string folder = options.string("/folder");
    return std::make_unique<Store>(
        share / (folder.empty() ? std::to_string(options.integer("/server/port")) : folder));
  }
  std::string info(hyper::Op) override {
    return hyper::DocBuilder()
        .set("/location", directory_.string())
        .set("/sink", {"random"})
        .json();
  }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc& request) override {
    return std::make_unique<Sink>(place(request.need_string("/key")),
                                  request.boolean("/overwrite"));
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    std::ifstream in(place(key), std::ios::binary);
    if (!in) throw hyper::Error(HYPER_NOTFOUND, "there is no " + key);
    return std::make_unique<Object>(std::string(std::istreambuf_iterator<char>(in), {}));
  }
  std::string stat(hyper::Op, const std::string& key) override {
    std::error_code error;
    const auto size = std::filesystem::file_size(place(key), error);
    if (error) return {};
    return hyper::DocBuilder()
        .set("/key", key)
        .set("/bytes", size)
        .set("/location", place(key).string())
        .json();
  }
  void list(hyper::Op op, const std::string& prefix, const hyper::Emit& emit) override {
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator it(directory_, error), end;
         !error && it != end; it.increment(error)) {
      const std::string key = it->path().lexically_relative(directory_).string();
      if (it->is_regular_file() && key.rfind(prefix, 0) == 0) emit(stat(op, key));
    }
  }
  void remove(hyper::Op, const std::string& key) override {
    std::error_code error;
    std::filesystem::remove(place(key), error);
  }

 private:
  std::filesystem::path place(const std::string& key) const {
    const std::filesystem::path plain = std::filesystem::path(key).lexically_normal();
    if (key.empty() || plain != std::filesystem::path(key) || plain.is_absolute() ||
        *plain.begin() == "..")
      throw hyper::Error(HYPER_CONFIG, "'" + key + "' is no key");
    return directory_ / plain;
  }

  const std::filesystem::path directory_;
};

}  // namespace acme
