// SPDX-License-Identifier: Apache-2.0
#include "gzip_reader.hpp"

#include <zlib.h>

#include <algorithm>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {
constexpr std::size_t kInput = 256u << 10;
constexpr int kGzipOnly = 15 + 16;  // inflateInit2: the largest window, a gzip wrapper
}  // namespace

GzipReader::GzipReader(Range compressed, uint64_t limit, OnCompressed on_compressed)
    : compressed_(std::move(compressed)),
      limit_(limit),
      on_compressed_(std::move(on_compressed)),
      input_(kInput),
      stream_(std::make_unique<z_stream>()) {
  if (inflateInit2(stream_.get(), kGzipOnly) != Z_OK) throw std::bad_alloc();
}

GzipReader::~GzipReader() {
  inflateEnd(stream_.get());
}

void GzipReader::corrupt(const std::string& what) const {
  throw Error(HYPER_CORRUPT,
              "the gzip-compressed file '" + compressed_.pieces().front().name + "' " + what,
              "near its byte " + std::to_string(position_ - stream_->avail_in))
      .hint("Copy or export the package again.");
}

bool GzipReader::refill() {
  const auto len = std::min<uint64_t>(kInput, compressed_.size() - position_);
  if (len == 0) return false;
  compressed_.read(position_, input_.data(), len);
  position_ += len;
  if (on_compressed_) on_compressed_(input_.data(), len);
  stream_->next_in = input_.data();
  stream_->avail_in = static_cast<uInt>(len);
  return true;
}

std::size_t GzipReader::read(void* buf, std::size_t len) {
  len = std::min<std::size_t>(len, 1u << 30);
  stream_->next_out = static_cast<Bytef*>(buf);
  stream_->avail_out = static_cast<uInt>(len);
  while (stream_->avail_out != 0) {
    if (stream_->avail_in == 0 && !refill()) {
      if (!at_boundary_ || compressed_.size() == 0) corrupt("breaks off in the middle");
      break;
    }
    if (at_boundary_ && position_ != stream_->avail_in) {
      // Behind a gzip member: zeros that pad, or another member.
      while (stream_->avail_in != 0 && *stream_->next_in == 0) {
        ++stream_->next_in;
        --stream_->avail_in;
      }
      if (stream_->avail_in == 0) continue;
    }
    at_boundary_ = false;
    const int status = inflate(stream_.get(), Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      at_boundary_ = true;
      inflateReset(stream_.get());
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != Z_OK && !(status == Z_BUF_ERROR && stream_->avail_in == 0)) {
      corrupt(std::string("is damaged (") + (stream_->msg != nullptr ? stream_->msg : "inflate") +
              ")");
    }
  }
  const std::size_t got = len - stream_->avail_out;
  produced_ += got;
  if (produced_ > limit_) corrupt("inflates to more than its disk can hold");
  return got;
}

}  // namespace hyper::ovf
