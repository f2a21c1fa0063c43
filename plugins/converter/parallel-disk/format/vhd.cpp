// SPDX-License-Identifier: Apache-2.0
#include "format/vhd.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string_view>

#include "format/bytes.hpp"
#include "format/image_file.hpp"
#include "format/run_merger.hpp"

namespace hyper::disk {
namespace {

constexpr uint32_t kFixedDisk = 2, kDynamicDisk = 3, kDifferencingDisk = 4;
constexpr uint64_t kMaxGeometry = 65535ull * 16 * 255;
constexpr uint64_t kMaxSectors = 0xff000000ull;  // 2040 GiB
constexpr uint64_t kDynamicHeader = 1024;
constexpr uint32_t kUnallocated = 0xffffffff;
constexpr std::size_t kTableBatch = 512;
// A fixed disk found by its footer alone may be padded in front of it by no more than this.
constexpr uint64_t kMaxPadding = 2u << 20;

using FooterBytes = std::array<uint8_t, kSector>;

struct Footer {
  uint64_t data_offset = 0, current_size = 0, size = 0;
  uint32_t type = 0;
};

// The complement of the sum of all bytes, the checksum's own left out.
uint32_t checksum(const uint8_t* bytes, std::size_t length, std::size_t skip) {
  uint32_t sum = 0;
  for (std::size_t i = 0; i < length; ++i)
    if (i < skip || i >= skip + 4) sum += bytes[i];
  return ~sum;
}

bool has_cookie(const FooterBytes& bytes) {
  return std::memcmp(bytes.data(), "conectix", 8) == 0;
}

uint64_t disk_size(const FooterBytes& bytes) {
  static constexpr std::string_view kCurrentSize[] = {"win ", "qem2",       "d2v ",
                                                      "CTXS", {"tap\0", 4}, {"wa\0\0", 4}};
  const std::string_view creator(reinterpret_cast<const char*>(&bytes[28]), 4);
  const uint64_t geometry = static_cast<uint64_t>(be16(&bytes[56])) * bytes[58] * bytes[59];
  const bool by_current_size =
      geometry == kMaxGeometry || std::find(std::begin(kCurrentSize), std::end(kCurrentSize),
                                            creator) != std::end(kCurrentSize);
  return (by_current_size ? be64(&bytes[48]) / kSector : geometry) * kSector;
}

std::optional<Footer> parse_footer(const FooterBytes& bytes) {
  if (!has_cookie(bytes) || checksum(bytes.data(), bytes.size(), 64) != be32(&bytes[64]))
    return std::nullopt;
  Footer footer;
  footer.data_offset = be64(&bytes[16]);
  footer.current_size = be64(&bytes[48]);
  footer.type = be32(&bytes[60]);
  footer.size = disk_size(bytes);
  return footer;
}

FooterBytes read_footer(Op op, const ImageFile& file, uint64_t offset) {
  FooterBytes bytes;
  file.read(op, offset, bytes.data(), bytes.size(), "the footer");
  return bytes;
}

class FixedVhd final : public ImageMap {
 public:
  FixedVhd(const SourceRef& source, uint64_t size) : source_(source.raw()), size_(size) {}
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "vhd"; }
  std::string subformat() const override { return "fixed"; }
  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    out.bytes(offset, length, source_, offset);
    out.finish();
  }

 private:
  SourceRef source_;
  uint64_t size_;
};

class DynamicVhd final : public ImageMap {
 public:
  DynamicVhd(Op op, const SourceRef& source, const Footer& footer)
      : file_(source, "vhd"), size_(footer.size) {
    std::array<uint8_t, kDynamicHeader> header;
    const uint64_t at = footer.data_offset;
    file_.read(op, at, header.data(), header.size(), "the dynamic disk's header");
    if (std::memcmp(header.data(), "cxsparse", 8) != 0)
      throw file_.corrupt(at, "no dynamic disk header (cxsparse)");
    if (checksum(header.data(), header.size(), 36) != be32(&header[36]))
      throw file_.corrupt(at + 36, "the dynamic disk header's checksum is wrong");
    table_ = be64(&header[16]);
    block_bytes_ = be32(&header[32]);
    if (!is_power_of_two(block_bytes_) || block_bytes_ < kSector)
      throw file_.corrupt(at + 32, "a block size of " + std::to_string(block_bytes_) + " bytes");
    bitmap_bytes_ = div_round_up(block_bytes_ / kSector, 8 * kSector) * kSector;
    const uint64_t entries = be32(&header[28]);
    if (entries < div_round_up(size_, block_bytes_))
      throw file_.corrupt(at + 28, "the block table is too short for the disk");
    if (!file_.holds(table_, entries * 4))
      throw file_.corrupt(table_, "the block table lies beyond the end of the file");
  }
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "vhd"; }
  std::string subformat() const override { return "dynamic"; }

  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    const uint64_t end = offset + length;
    std::array<uint8_t, kTableBatch * 4> entries;
    while (offset < end) {
      op.check_cancelled();
      const uint64_t block = offset / block_bytes_;
      const uint64_t count =
          std::min<uint64_t>(div_round_up(end, block_bytes_) - block, kTableBatch);
      const uint64_t at = table_ + block * 4;
      file_.read(op, at, entries.data(), count * 4, "the block table");
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t skip = offset % block_bytes_;
        const uint64_t part = std::min(end - offset, block_bytes_ - skip);
        const uint32_t entry = be32(&entries[i * 4]);
        if (entry == kUnallocated)
          out.zeros(offset, part, true);
        else
          map_block(op, offset, part, entry * kSector, skip, at + i * 4, out);
        offset += part;
      }
    }
    out.finish();
  }

 private:
  void map_block(Op op, uint64_t guest, uint64_t length, uint64_t block_at, uint64_t skip,
                 uint64_t entry_at, RunMerger& out) const {
    const uint64_t data = block_at + bitmap_bytes_;
    if (!file_.holds(data, skip + length))
      throw file_.corrupt(entry_at, "a block beyond the end of the file");
    std::array<uint8_t, kSector> bitmap;
    const uint64_t end = skip + length;
    while (skip < end) {
      op.check_cancelled();
      const uint64_t first = skip / kSector / 8 / kSector * kSector;  // byte of the bitmap
      file_.peek(op, block_at + first, bitmap.data(), bitmap.size(), "a block's bitmap");
      const uint64_t reach = std::min(end, (first + kSector) * 8 * kSector);
      while (skip < reach) {
        const uint64_t part = sectors_alike(bitmap, skip, reach, first);
        const uint64_t at = guest + (skip - (end - length));
        if (is_set(bitmap, skip / kSector - first * 8))
          out.bytes(at, part, file_.source(), data + skip);
        else
          out.zeros(at, part, true);
        skip += part;
      }
    }
  }

  static bool is_set(const std::array<uint8_t, kSector>& bitmap, uint64_t bit) {
    return (bitmap[bit / 8] & (0x80u >> bit % 8)) != 0;
  }

  /// How many bytes from `skip` on, up to `reach`, share the bit of the sector at `skip`.
  static uint64_t sectors_alike(const std::array<uint8_t, kSector>& bitmap, uint64_t skip,
                                uint64_t reach, uint64_t first) {
    const uint64_t last = div_round_up(reach, kSector) - first * 8;
    uint64_t bit = skip / kSector - first * 8;
    const bool set = is_set(bitmap, bit);
    const uint8_t whole = set ? 0xff : 0;
    while (bit < last && is_set(bitmap, bit) == set)
      bit += bit % 8 == 0 && bitmap[bit / 8] == whole ? 8 : 1;
    return std::min(reach, (first * 8 + bit) * kSector) - skip;
  }

  ImageFile file_;
  uint64_t size_ = 0, table_ = 0, block_bytes_ = 0, bitmap_bytes_ = 0;
};

}  // namespace

bool is_vhd(Op op, const SourceRef& source) {
  const ImageFile file(source, "vhd");
  if (file.length() < kSector) return false;
  const FooterBytes front = read_footer(op, file, 0);
  if (has_cookie(front)) {
    const uint32_t type = be32(&front[60]);
    if (type == kDynamicDisk || type == kDifferencingDisk) return true;
  }
  const auto footer = parse_footer(read_footer(op, file, file.length() - kSector));
  if (!footer) return false;
  if (footer->type != kFixedDisk) return true;  // its copy in front is damaged
  const uint64_t data = file.length() - kSector;
  return footer->current_size <= data && data - footer->current_size <= kMaxPadding &&
         footer->size <= data;
}

std::unique_ptr<ImageMap> open_vhd(Op op, const SourceRef& source) {
  const ImageFile file(source, "vhd");
  if (file.length() < kSector) throw file.corrupt(0, "the file is too short for a footer");
  const uint64_t last = file.length() - kSector;
  auto footer = parse_footer(read_footer(op, file, 0));
  if (!footer || footer->type == kFixedDisk) footer = parse_footer(read_footer(op, file, last));
  if (!footer) throw file.corrupt(last, "no footer with a cookie and a right checksum");
  if (footer->type == kDifferencingDisk)
    throw file.unsupported("this is a differencing disk, not a whole one")
        .hint("merge it into its parent first");
  if (footer->size / kSector > kMaxSectors)
    throw file.corrupt(last + 48, "a disk of more than 2040 GiB");
  if (footer->type == kDynamicDisk) return std::make_unique<DynamicVhd>(op, source, *footer);
  if (footer->type != kFixedDisk)
    throw file.unsupported("disk type " + std::to_string(footer->type));
  if (footer->size > last)
    throw file.corrupt(last + 48, "a disk of " + std::to_string(footer->size) +
                                      " bytes in a file of " + std::to_string(file.length()));
  return std::make_unique<FixedVhd>(source, footer->size);
}

}  // namespace hyper::disk
