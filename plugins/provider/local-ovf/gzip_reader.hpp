// SPDX-License-Identifier: Apache-2.0
// Inflates a gzip file of a package (one or more members, RFC 1952) in bounded memory. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "file.hpp"

struct z_stream_s;

namespace hyper::ovf {

class GzipReader {
 public:
  using OnCompressed = std::function<void(const void* data, std::size_t len)>;

  /// limit: more inflated bytes than this are refused (a compression bomb).
  GzipReader(Range compressed, uint64_t limit, OnCompressed on_compressed = {});
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Up to len inflated bytes; 0 only at the end. Throws HYPER_CORRUPT naming the file if it is
  /// damaged or breaks off.
  std::size_t read(void* buf, std::size_t len);

 private:
  [[noreturn]] void corrupt(const std::string& what) const;
  bool refill();

  Range compressed_;
  uint64_t limit_, produced_ = 0, position_ = 0;
  OnCompressed on_compressed_;
  std::vector<unsigned char> input_;
  std::unique_ptr<z_stream_s> stream_;
  bool at_boundary_ = true;  // between gzip members: the file may end here
};

}  // namespace hyper::ovf
