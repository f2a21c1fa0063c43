// SPDX-License-Identifier: Apache-2.0
#include "format/vdi.hpp"

#include <algorithm>
#include <array>

#include "format/bytes.hpp"
#include "format/image_file.hpp"
#include "format/run_merger.hpp"

namespace hyper::disk {
namespace {

constexpr uint32_t kSignature = 0xbeda107f;
constexpr uint32_t kVersion = 0x00010001;
constexpr uint32_t kDynamic = 1, kStatic = 2;
constexpr uint32_t kFirstFree = 0xfffffffe;  // …e: discarded, …f: never written
constexpr uint64_t kMaxExtra = 1u << 20;
constexpr std::size_t kMapBatch = 512;

class VdiMap final : public ImageMap {
 public:
  VdiMap(Op op, const SourceRef& source) : file_(source, "vdi") {
    std::array<uint8_t, kSector> header;
    file_.read(op, 0, header.data(), header.size(), "the header");
    if (le32(&header[0x40]) != kSignature) throw file_.corrupt(0x40, "no VDI signature");
    if (le32(&header[0x44]) != kVersion)
      throw file_.unsupported("VDI version " + std::to_string(le16(&header[0x46])) + "." +
                              std::to_string(le16(&header[0x44])));
    type_ = le32(&header[0x4c]);
    const auto any = [&](std::size_t at) {
      return std::any_of(&header[at], &header[at] + 16, [](uint8_t byte) { return byte != 0; });
    };
    if ((type_ != kDynamic && type_ != kStatic) || any(0x1a8) || any(0x1b8))
      throw file_.unsupported("this is a snapshot's or a differencing image, not a whole disk")
          .hint("merge the snapshots, or clone the disk");
    map_ = le32(&header[0x154]);
    data_ = le32(&header[0x158]);
    if (le32(&header[0x168]) != kSector) throw file_.corrupt(0x168, "a sector size other than 512");
    // A disk is whole sectors; as QEMU does, what is left of the last one is added.
    size_ = le64(&header[0x170]);
    if (size_ > INT64_MAX - kSector) throw file_.corrupt(0x170, "an impossible disk size");
    size_ = div_round_up(size_, kSector) * kSector;
    block_bytes_ = le32(&header[0x178]);
    extra_ = le32(&header[0x17c]);
    if (!is_power_of_two(block_bytes_) || block_bytes_ < kSector)
      throw file_.corrupt(0x178, "a block size of " + std::to_string(block_bytes_) + " bytes");
    if (extra_ > kMaxExtra)  // also keeps the sums below within 64 bits
      throw file_.corrupt(0x17c, std::to_string(extra_) + " extra bytes in front of each block");
    const uint64_t blocks = le32(&header[0x180]);
    if (blocks < div_round_up(size_, block_bytes_))
      throw file_.corrupt(0x180, "the block map is too short for the disk");
    if (!file_.holds(map_, blocks * 4))
      throw file_.corrupt(map_, "the block map lies beyond the end of the file");
  }
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "vdi"; }
  std::string subformat() const override { return type_ == kStatic ? "static" : "dynamic"; }

  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    const uint64_t end = offset + length;
    std::array<uint8_t, kMapBatch * 4> entries;
    while (offset < end) {
      op.check_cancelled();
      const uint64_t block = offset / block_bytes_;
      const uint64_t count = std::min<uint64_t>(div_round_up(end, block_bytes_) - block, kMapBatch);
      const uint64_t at = map_ + block * 4;
      file_.read(op, at, entries.data(), count * 4, "the block map");
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t skip = offset % block_bytes_;
        const uint64_t part = std::min(end - offset, block_bytes_ - skip);
        const uint32_t entry = le32(&entries[i * 4]);
        const uint64_t data = data_ + entry * (block_bytes_ + extra_) + extra_;
        if (entry >= kFirstFree)
          out.zeros(offset, part, entry != kFirstFree);
        else if (!file_.holds(data, skip + part))
          throw file_.corrupt(at + i * 4, "a block beyond the end of the file");
        else
          out.bytes(offset, part, file_.source(), data + skip);
        offset += part;
      }
    }
    out.finish();
  }

 private:
  ImageFile file_;
  uint32_t type_ = 0;
  uint64_t size_ = 0, map_ = 0, data_ = 0, block_bytes_ = 0, extra_ = 0;
};

}  // namespace

bool is_vdi(Op op, const SourceRef& source) {
  const ImageFile file(source, "vdi");
  if (file.length() < kSector) return false;
  std::array<uint8_t, kSector> begin;
  file.read(op, 0, begin.data(), begin.size(), "the header");
  return le32(&begin[0x40]) == kSignature &&
         (le16(&begin[0x46]) <= 1 || !is_boot_sector(begin.data(), begin.size()));
}

std::unique_ptr<ImageMap> open_vdi(Op op, const SourceRef& source) {
  return std::make_unique<VdiMap>(op, source);
}

}  // namespace hyper::disk
