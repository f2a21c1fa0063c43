// SPDX-License-Identifier: Apache-2.0
// A file of an image as its parser sees it: reads that are checked against the file's length and
// go through a small cache of pages, so that tables are read lazily, in bounded memory, and never
// allocated from a size that the file claims. Thread-safe.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <hyper/source.hpp>

namespace hyper::disk {

/// The pages of all files of one image that were used last: 64 of them.
class PageCache {
 public:
  static constexpr std::size_t kPages = 64;

  explicit PageCache(uint64_t page_bytes) : page_bytes_(page_bytes) {}

  /// [offset, offset + len) lies within the source.
  void read(Op op, const SourceRef& source, uint64_t offset, void* buf, uint64_t len);

 private:
  struct Page {
    const hyper_source* source = nullptr;
    uint64_t number = 0;
    uint64_t used = 0;  // clock_ when it was last read
    std::vector<uint8_t> bytes;
  };
  const Page& page(Op op, const SourceRef& source, uint64_t number);

  const uint64_t page_bytes_;
  std::mutex mutex_;
  std::array<Page, kPages> pages_;
  uint64_t clock_ = 0;
};

class ImageFile {
 public:
  /// `format` and `name` (may be empty) are for messages. The source stays the caller's.
  ImageFile(const SourceRef& source, std::string format);
  /// A further file of the image, sharing the first one's cache.
  ImageFile(std::unique_ptr<OwnedSource> source, const ImageFile& first, std::string name);

  const SourceRef& source() const { return source_; }
  uint64_t length() const { return source_.length(); }
  bool holds(uint64_t offset, uint64_t len) const {
    return offset <= length() && len <= length() - offset;
  }

  /// Throws HYPER_CORRUPT ("`what` is cut off …") if the range is not within the file.
  void read(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const;
  /// The same for a few bytes that stand alone among data, such as the size of a compressed grain
  /// in front of it: with nothing around them where the source makes that cheap, else with little.
  void peek(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const;

  Error corrupt(uint64_t offset, const std::string& what) const;
  Error unsupported(const std::string& what) const;

 private:
  void check_range(uint64_t offset, uint64_t len, const char* what) const;
  std::string place() const;

  std::unique_ptr<OwnedSource> owned_;
  SourceRef source_;
  std::shared_ptr<PageCache> tables_, peeks_;
  std::string format_, name_;
};

}  // namespace hyper::disk
