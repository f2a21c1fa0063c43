// SPDX-License-Identifier: Apache-2.0
// Files as sources and sinks for tests: seekable or forward only, whole or in parts, and failing
// or cancelling where a test wants it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <hyper/sink.hpp>
#include <hyper/source.hpp>

namespace hyper::test {

struct SourceOptions {
  uint32_t flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_FILE;
  std::string format;
  uint64_t span = 100000;         ///< bytes a next() lends: odd, so that nothing is aligned
  uint64_t fail_at = UINT64_MAX;  ///< reading this byte is an I/O error
  bool known_length = true;
  uint32_t block_min = 1;
};

class FileSource : public Source {
 public:
  FileSource(std::string path, SourceOptions options)
      : path_(std::move(path)),
        options_(std::move(options)),
        fd_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)),
        buffer_(options_.span) {
    struct stat info {};
    if (fd_ < 0 || ::fstat(fd_, &info) != 0) throw errno_error(errno, path_);
    length_ = static_cast<uint64_t>(info.st_size);
  }
  ~FileSource() override { ::close(fd_); }
  SourceTraits traits() const override {
    SourceTraits traits;
    traits.flags = options_.flags;
    traits.length = options_.known_length ? length_ : HYPER_LENGTH_UNKNOWN;
    traits.format = options_.format;
    traits.block_min = options_.block_min;
    return traits;
  }
  void read_at(Op, uint64_t offset, void* buf, uint64_t len) override {
    if (offset % options_.block_min != 0 ||
        (len % options_.block_min != 0 && offset + len != length_))
      throw Error(HYPER_FAIL, "a read that is not aligned");
    if (busy_.exchange(true)) throw Error(HYPER_FAIL, "two reads at once");
    struct Done {
      std::atomic<bool>& busy;
      ~Done() { busy = false; }
    } done{busy_};
    get(offset, buf, len);
  }
  std::pair<const void*, uint64_t> next(Op) override {
    const uint64_t now = std::min<uint64_t>(options_.span, length_ - position_);
    get(position_, buffer_.data(), now);
    position_ += now;
    return {buffer_.data(), now};
  }
  FileRange locate(Op) override { return {path_, 0, length_}; }
  std::unique_ptr<Source> sibling(Op, const std::string& name) override {
    SourceOptions options = options_;
    options.format.clear();
    return std::make_unique<FileSource>(
        (std::filesystem::path(path_).parent_path() / name).string(), options);
  }

 private:
  void get(uint64_t offset, void* buf, uint64_t len) {
    if (offset + len > options_.fail_at) throw Error(HYPER_IO, "the test's source fails here");
    if (::pread(fd_, buf, len, static_cast<off_t>(offset)) != static_cast<ssize_t>(len))
      throw errno_error(EIO, path_);
  }
  std::string path_;
  SourceOptions options_;
  int fd_;
  uint64_t length_ = 0, position_ = 0;
  std::vector<uint8_t> buffer_;
  std::atomic<bool> busy_{false};
};

struct SinkOptions {
  uint32_t flags = HYPER_SINK_RANDOM | HYPER_SINK_PATH;
  uint64_t part_size = 0;
  uint64_t fail_at = UINT64_MAX;  ///< writing this byte fails
  uint32_t max_parallel = 16;
};

/// Writes to `path` itself; commit() is the test's own truncation to the length it was given.
class FileSink : public Sink {
 public:
  FileSink(std::string path, SinkOptions options)
      : path_(std::move(path)),
        options_(options),
        fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (fd_ < 0) throw errno_error(errno, path_);
  }
  ~FileSink() override { ::close(fd_); }
  SinkTraits traits() const override {
    SinkTraits traits;
    traits.flags = options_.flags;
    traits.part_size = options_.part_size;
    traits.max_parallel = options_.max_parallel;
    return traits;
  }
  void write_at(Op, uint64_t offset, const void* buf, uint64_t len) override {
    if (offset + len > options_.fail_at) throw Error(HYPER_NOSPACE, "the test's sink is full");
    {
      const std::lock_guard lock(mutex_);
      if ((options_.flags & HYPER_SINK_APPEND) != 0 && offset != end_)
        throw Error(HYPER_FAIL, "an append that is not at the end");
      if ((options_.flags & HYPER_SINK_PARTS) != 0) {
        if (offset % options_.part_size != 0 || len > options_.part_size ||
            !parts_.insert(offset).second)
          throw Error(HYPER_FAIL, "a write that is no part, or one written before");
        if (len < options_.part_size) short_parts_.insert(offset);
      }
      end_ = std::max(end_, offset + len);
    }
    if (::pwrite(fd_, buf, len, static_cast<off_t>(offset)) != static_cast<ssize_t>(len))
      throw errno_error(errno, path_);
  }
  void zero_at(Op, uint64_t offset, uint64_t len) override {
    if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(len)) != 0)
      throw errno_error(errno, path_);
  }
  const char* path() override { return path_.c_str(); }
  std::string commit(Op, uint64_t length) override {
    if ((options_.flags & (HYPER_SINK_PARTS | HYPER_SINK_APPEND)) != 0 && end_ != length)
      throw Error(HYPER_FAIL, "the image has another length than what was written");
    if ((options_.flags & HYPER_SINK_PARTS) != 0 &&
        (parts_.size() != (length + options_.part_size - 1) / options_.part_size ||
         short_parts_.size() > 1))
      throw Error(HYPER_FAIL, "parts are missing");
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0) throw errno_error(errno, path_);
    return "{}";
  }

 private:
  std::string path_;
  SinkOptions options_;
  int fd_;
  std::mutex mutex_;
  uint64_t end_ = 0;
  std::set<uint64_t> parts_, short_parts_;
};

class OwnedSink : public SinkRef {
 public:
  explicit OwnedSink(std::unique_ptr<Sink> sink) : SinkRef(&table_) {
    table_.size = sizeof table_;
    export_sink(std::move(sink), &table_);
  }
  ~OwnedSink() { table_.close(table_.ctx, nullptr); }
  OwnedSink(const OwnedSink&) = delete;
  OwnedSink& operator=(const OwnedSink&) = delete;

 private:
  hyper_sink table_{};
};

}  // namespace hyper::test
