// SPDX-License-Identifier: Apache-2.0
// How the engine reads a source: by offset (Input, any thread) or forward only (Forward, one
// thread at a time). A source whose bytes lie in a local file is read from that file directly.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <hyper/source.hpp>

namespace hyper::disk {

/// A file descriptor, closed on destruction.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

class Input {
 public:
  /// The source (with SEEK, and safe for any number of calls at once) outlives this.
  Input(Op op, const SourceRef& source);
  uint64_t length() const { return source_.length(); }
  /// Fills `to` or throws; a range beyond the end is HYPER_CORRUPT: a table of the image names it.
  void read(Op op, uint64_t offset, void* to, uint64_t length) const;
  uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }

 private:
  void read_source(Op op, uint64_t offset, uint8_t* to, uint64_t length) const;

  SourceRef source_;
  Descriptor file_;
  uint64_t file_offset_ = 0;
  mutable std::atomic<uint64_t> bytes_read_{0};
};

/// A source's bytes from its first to its last.
class Forward {
 public:
  /// Reads with next() where the source streams and cannot seek, else by offset.
  explicit Forward(const SourceRef& source);
  /// Up to `length` bytes, at least one; 0 = the end of the source.
  uint64_t read(Op op, void* to, uint64_t length);
  /// The offset of the next byte.
  uint64_t position() const { return position_; }

 private:
  SourceRef source_;
  std::unique_ptr<Input> input_;
  Span span_;
  uint64_t used_ = 0;  // of span_
  bool ended_ = false;
  uint64_t position_ = 0;
};

}  // namespace hyper::disk
