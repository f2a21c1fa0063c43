// SPDX-License-Identifier: Apache-2.0
#include "format/image_file.hpp"

#include <algorithm>
#include <cstring>

namespace hyper::disk {
namespace {

constexpr uint64_t kTablePage = 64u << 10;
// Larger ones would read an image of compressed grains twice: a grain often has about 64 KiB.
constexpr uint64_t kPeekPage = 4u << 10;

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
  const uint64_t offset = number * page_bytes_;
  oldest->bytes.resize(std::min(page_bytes_, source.length() - offset));
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
    const uint64_t within = offset % page_bytes_;
    const uint64_t part = std::min(len, page_bytes_ - within);
    std::memcpy(out, page(op, source, offset / page_bytes_).bytes.data() + within, part);
    offset += part, out += part, len -= part;
  }
}

ImageFile::ImageFile(const SourceRef& source, std::string format)
    : source_(source.raw()),
      tables_(std::make_shared<PageCache>(kTablePage)),
      peeks_(std::make_shared<PageCache>(kPeekPage)),
      format_(std::move(format)) {
  need_seekable(source_, format_);
}

ImageFile::ImageFile(std::unique_ptr<OwnedSource> source, const ImageFile& first, std::string name)
    : owned_(std::move(source)),
      source_(owned_->raw()),
      tables_(first.tables_),
      peeks_(first.peeks_),
      format_(first.format_),
      name_(std::move(name)) {
  need_seekable(source_, format_);
}

void ImageFile::check_range(uint64_t offset, uint64_t len, const char* what) const {
  if (!holds(offset, len))
    throw corrupt(offset, std::string(what) + " lies beyond the end of the file (" +
                              std::to_string(length()) + " bytes)");
}

void ImageFile::read(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const {
  check_range(offset, len, what);
  tables_->read(op, source_, offset, buf, len);
}

void ImageFile::peek(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const {
  check_range(offset, len, what);
  const bool cheap = source_.can(HYPER_SOURCE_FILE) || source_.can(HYPER_SOURCE_BORROW);
  const uint32_t block = source_.raw()->block_min;
  if (cheap && block <= 1)
    source_.read_at(op, offset, buf, len);
  else
    (block <= kPeekPage ? peeks_ : tables_)->read(op, source_, offset, buf, len);
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
