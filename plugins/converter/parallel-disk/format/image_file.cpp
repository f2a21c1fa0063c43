// SPDX-License-Identifier: Apache-2.0
#include "format/image_file.hpp"

#include <algorithm>
#include <cstring>

namespace hyper::disk {
namespace {

void read_in_blocks(Op op, const SourceRef& source, uint64_t offset, uint8_t* buf, uint64_t len) {
  const uint64_t most = source.raw()->block_max == 0 ? len : source.raw()->block_max;
  while (len != 0) {
    const uint64_t part = std::min(len, most);
    source.read_at(op, offset, buf, part);
    offset += part, buf += part, len -= part;
  }
}

void need_seekable(const SourceRef& source, const std::string& format) {
  if (!source.can(HYPER_SOURCE_SEEK) || source.length() == HYPER_LENGTH_UNKNOWN)
    throw Error(HYPER_UNSUPPORTED, format + ": the image's tables need a source that can seek");
}

}  // namespace

const PageCache::Page& PageCache::page(Op op, const SourceRef& source, uint64_t number) {
  Page* oldest = &pages_[0];
  for (Page& page : pages_) {
    if (page.source == source.raw() && page.number == number) return page.used = ++clock_, page;
    if (page.used < oldest->used) oldest = &page;
  }
  oldest->source = nullptr;  // until the read below succeeds
  oldest->used = 0;
  const uint64_t offset = number * kPageBytes;
  oldest->bytes.resize(std::min(kPageBytes, source.length() - offset));
  read_in_blocks(op, source, offset, oldest->bytes.data(), oldest->bytes.size());
  oldest->source = source.raw();
  oldest->number = number;
  oldest->used = ++clock_;
  return *oldest;
}

void PageCache::read(Op op, const SourceRef& source, uint64_t offset, void* buf, uint64_t len) {
  auto* out = static_cast<uint8_t*>(buf);
  const std::scoped_lock lock(mutex_);
  while (len != 0) {
    const uint64_t within = offset % kPageBytes;
    const uint64_t part = std::min(len, kPageBytes - within);
    std::memcpy(out, page(op, source, offset / kPageBytes).bytes.data() + within, part);
    offset += part, out += part, len -= part;
  }
}

ImageFile::ImageFile(const SourceRef& source, std::string format)
    : source_(source.raw()), cache_(std::make_shared<PageCache>()), format_(std::move(format)) {
  need_seekable(source_, format_);
}

ImageFile::ImageFile(std::unique_ptr<OwnedSource> source, const ImageFile& first, std::string name)
    : owned_(std::move(source)),
      source_(owned_->raw()),
      cache_(first.cache_),
      format_(first.format_),
      name_(std::move(name)) {
  need_seekable(source_, format_);
}

void ImageFile::read(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const {
  if (!holds(offset, len))
    throw corrupt(offset, std::string(what) + " lies beyond the end of the file (" +
                              std::to_string(length()) + " bytes)");
  cache_->read(op, source_, offset, buf, len);
}

void ImageFile::peek(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const {
  const bool cheap = source_.can(HYPER_SOURCE_FILE) || source_.can(HYPER_SOURCE_BORROW);
  if (cheap && source_.raw()->block_min <= 1 && holds(offset, len))
    source_.read_at(op, offset, buf, len);
  else
    read(op, offset, buf, len, what);
}

std::string ImageFile::place() const {
  return name_.empty() ? std::string() : " of '" + name_ + "'";
}

Error ImageFile::corrupt(uint64_t offset, const std::string& what) const {
  Error error(HYPER_CORRUPT,
              format_ + ": " + what + ", at file offset " + std::to_string(offset) + place());
  error.hint("the image is damaged or truncated: take it from its origin again");
  return error;
}

Error ImageFile::unsupported(const std::string& what) const {
  return Error(HYPER_UNSUPPORTED, format_ + ": " + what + place());
}

}  // namespace hyper::disk
