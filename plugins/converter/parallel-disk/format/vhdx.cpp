// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/bytes.hpp"
#include "format/run_merger.hpp"
#include "format/vhdx_log.hpp"

namespace hyper::disk {
namespace {

using Guid = VhdxLog::Guid;

constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kHeaderOffsets[] = {64u << 10, 128u << 10};
constexpr uint64_t kRegionOffsets[] = {192u << 10, 256u << 10};
constexpr std::size_t kHeaderBytes = 4096;
constexpr std::size_t kRegionTableBytes = 64u << 10;
constexpr uint32_t kMaxEntries = 2047;  // of the region and the metadata table
constexpr uint64_t kMaxDisk = 64ull << 40;
constexpr std::size_t kBatBatch = 512;

// GUIDs as they lie in the file: the first three fields little-endian.
constexpr Guid kBat = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                       0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
constexpr Guid kMetadata = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                            0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
constexpr Guid kFileParameters = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                  0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
constexpr Guid kVirtualDiskSize = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                   0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
constexpr Guid kLogicalSectorSize = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                     0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
constexpr Guid kPhysicalSectorSize = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                      0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
constexpr Guid kPage83 = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                          0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
constexpr Guid kParentLocator = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
                                 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};

enum PayloadState : uint64_t {
  kNotPresent = 0,
  kUndefined = 1,
  kZero = 2,
  kUnmapped = 3,
  kUnmappedOld = 5,  // drafts of the specification
  kFullyPresent = 6,
  kPartiallyPresent = 7,
};

Guid guid_at(const uint8_t* bytes) {
  Guid guid;
  std::memcpy(guid.data(), bytes, guid.size());
  return guid;
}

bool checksum_ok(uint8_t* bytes, std::size_t length) {
  const uint32_t expected = le32(bytes + 4);
  std::memset(bytes + 4, 0, 4);
  return crc32c(bytes, length) == expected;
}

struct Region {
  uint64_t offset = 0, length = 0;
};

class VhdxMap final : public ImageMap {
 public:
  VhdxMap(Op op, const SourceRef& source) : file_(source, "vhdx"), log_(file_) {
    std::array<uint8_t, 8> magic;
    file_.read(op, 0, magic.data(), magic.size(), "the file identifier");
    if (std::memcmp(magic.data(), "vhdxfile", 8) != 0)
      throw file_.corrupt(0, "no VHDX file identifier");
    read_headers(op);
    read_regions(op);
    read_metadata(op);
    const uint64_t blocks = div_round_up(size_, block_bytes_);
    const uint64_t entries = blocks == 0 ? 0 : blocks + (blocks - 1) / chunk_ratio_;
    if (entries > bat_.length / 8)
      throw file_.corrupt(bat_.offset, "the block allocation table is too short for the disk");
  }
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "vhdx"; }
  std::string subformat() const override { return fixed_ ? "fixed" : "dynamic"; }
  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override;

 private:
  void read_headers(Op op);
  void read_regions(Op op);
  void take_regions(const std::vector<uint8_t>& table, uint64_t table_at);
  void read_metadata(Op op);
  void take_item(Op op, const Guid& id, uint64_t at, uint64_t length, bool required);
  void map_block(uint64_t guest, uint64_t length, uint64_t skip, uint64_t entry, uint64_t entry_at,
                 RunMerger& out) const;

  ImageFile file_;
  VhdxLog log_;
  Region bat_, metadata_;
  uint64_t size_ = 0, block_bytes_ = 0, sector_bytes_ = 0, chunk_ratio_ = 0;
  bool fixed_ = false;
};

void VhdxMap::read_headers(Op op) {
  std::array<uint8_t, kHeaderBytes> current{};
  uint64_t current_at = 0;
  for (const uint64_t at : kHeaderOffsets) {
    std::array<uint8_t, kHeaderBytes> header;
    if (!file_.holds(at, header.size())) break;
    file_.read(op, at, header.data(), header.size(), "a header");
    if (std::memcmp(header.data(), "head", 4) != 0 || !checksum_ok(header.data(), header.size()))
      continue;
    if (current_at != 0 && le64(&header[8]) <= le64(&current[8])) continue;
    current = header;
    current_at = at;
  }
  if (current_at == 0)
    throw file_.corrupt(kHeaderOffsets[0], "neither of the two headers is valid");
  if (le16(&current[66]) != 1)
    throw file_.unsupported("VHDX version " + std::to_string(le16(&current[66])));
  const Guid log_guid = guid_at(&current[48]);
  if (log_guid == Guid{}) return;
  if (le16(&current[64]) != 0)
    throw file_.unsupported("log version " + std::to_string(le16(&current[64])));
  log_.replay(op, le64(&current[72]), le32(&current[68]), log_guid);
}

void VhdxMap::read_regions(Op op) {
  std::vector<uint8_t> table(kRegionTableBytes);
  for (const uint64_t at : kRegionOffsets) {
    log_.read(op, at, table.data(), table.size(), "the region table");
    if (std::memcmp(table.data(), "regi", 4) == 0 && checksum_ok(table.data(), table.size()) &&
        le32(&table[8]) <= kMaxEntries)
      return take_regions(table, at);
  }
  throw file_.corrupt(kRegionOffsets[0], "neither of the two region tables is valid");
}

void VhdxMap::take_regions(const std::vector<uint8_t>& table, uint64_t table_at) {
  for (uint32_t i = 0; i < le32(&table[8]); ++i) {
    const uint64_t at = 16 + i * 32u;
    const uint8_t* entry = &table[at];
    const Guid id = guid_at(entry);
    const Region region{le64(entry + 16), le32(entry + 24)};
    if (id != kBat && id != kMetadata) {
      if ((le32(entry + 28) & 1) != 0)
        throw file_.unsupported("the image needs a region this reader does not know");
      continue;
    }
    if (region.offset < kMiB || region.offset % kMiB != 0 || region.offset > log_.length() ||
        region.length > log_.length() - region.offset)
      throw file_.corrupt(table_at + at, "a region beyond the end of the file");
    Region& known = id == kBat ? bat_ : metadata_;
    if (known.length != 0) throw file_.corrupt(table_at + at, "a region that is there twice");
    known = region;
  }
  if (bat_.length == 0 || metadata_.length == 0)
    throw file_.corrupt(table_at, "no block allocation table or no metadata");
}

void VhdxMap::read_metadata(Op op) {
  std::array<uint8_t, 32> entry;
  log_.read(op, metadata_.offset, entry.data(), entry.size(), "the metadata table");
  const uint32_t count = le16(&entry[10]);
  if (std::memcmp(entry.data(), "metadata", 8) != 0 || count > kMaxEntries)
    throw file_.corrupt(metadata_.offset, "no metadata table");
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t at = metadata_.offset + 32 + i * 32u;
    log_.read(op, at, entry.data(), entry.size(), "the metadata table");
    const uint64_t offset = le32(&entry[16]), length = le32(&entry[20]);
    if (length != 0 && (offset > metadata_.length || length > metadata_.length - offset))
      throw file_.corrupt(at, "a metadata item outside of its region");
    const bool is_user = (le32(&entry[24]) & 1) != 0;
    if (!is_user)
      take_item(op, guid_at(entry.data()), metadata_.offset + offset, length,
                (le32(&entry[24]) & 4) != 0);
  }
  if (block_bytes_ == 0 || sector_bytes_ == 0)
    throw file_.corrupt(metadata_.offset, "the metadata lacks the block or the sector size");
  if (size_ > kMaxDisk || size_ % sector_bytes_ != 0)
    throw file_.corrupt(metadata_.offset, "a disk of " + std::to_string(size_) + " bytes");
  chunk_ratio_ = (1u << 23) * sector_bytes_ / block_bytes_;
}

void VhdxMap::take_item(Op op, const Guid& id, uint64_t at, uint64_t length, bool required) {
  std::array<uint8_t, 8> value{};
  const bool known = id == kFileParameters || id == kVirtualDiskSize || id == kLogicalSectorSize;
  if (known) {
    const std::size_t need = id == kLogicalSectorSize ? 4 : 8;
    if (length < need) throw file_.corrupt(at, "a metadata item that is too short");
    log_.read(op, at, value.data(), need, "a metadata item");
  }
  if (id == kFileParameters) {
    block_bytes_ = le32(&value[0]);
    fixed_ = (le32(&value[4]) & 1) != 0;
    if (!is_power_of_two(block_bytes_) || block_bytes_ < kMiB || block_bytes_ > 256 * kMiB)
      throw file_.corrupt(at, "a block size of " + std::to_string(block_bytes_) + " bytes");
    if ((le32(&value[4]) & 2) != 0)
      throw file_.unsupported("this is a differencing disk, not a whole one")
          .hint("merge its checkpoints first");
  } else if (id == kVirtualDiskSize) {
    size_ = le64(value.data());
  } else if (id == kLogicalSectorSize) {
    sector_bytes_ = le32(value.data());
    if (sector_bytes_ != 512 && sector_bytes_ != 4096)
      throw file_.corrupt(at, "a sector size of " + std::to_string(sector_bytes_) + " bytes");
  } else if (required && id != kPhysicalSectorSize && id != kPage83 && id != kParentLocator) {
    throw file_.unsupported("the image needs metadata this reader does not know");
  }
}

// The table's entries for payload blocks come in chunks of chunk_ratio_, each with the entry of a
// sector bitmap behind it, which only differencing disks use.
void VhdxMap::map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const {
  check_map_range(*this, offset, length);
  RunMerger out(op, on_mapped);
  const uint64_t end = offset + length;
  std::array<uint8_t, kBatBatch * 8> entries;
  while (offset < end) {
    op.check_cancelled();
    const uint64_t block = offset / block_bytes_;
    const uint64_t count = std::min({div_round_up(end, block_bytes_) - block,
                                     chunk_ratio_ - block % chunk_ratio_, uint64_t{kBatBatch}});
    const uint64_t at = bat_.offset + (block + block / chunk_ratio_) * 8;
    log_.read(op, at, entries.data(), count * 8, "the block allocation table");
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t skip = offset % block_bytes_;
      const uint64_t part = std::min(end - offset, block_bytes_ - skip);
      map_block(offset, part, skip, le64(&entries[i * 8]), at + i * 8, out);
      offset += part;
    }
  }
  out.finish();
}

void VhdxMap::map_block(uint64_t guest, uint64_t length, uint64_t skip, uint64_t entry,
                        uint64_t entry_at, RunMerger& out) const {
  switch (entry & 7) {
    case kNotPresent:
    case kUndefined:
    case kUnmapped:
    case kUnmappedOld:
      return out.zeros(guest, length, true);
    case kZero:
      return out.zeros(guest, length, false);
    case kFullyPresent:
      break;
    default:
      throw file_.corrupt(entry_at, "a block in the state " + std::to_string(entry & 7));
  }
  const uint64_t block_at = entry & ~(kMiB - 1);
  const uint64_t at = block_at + skip;
  if (block_at < kMiB || block_at > log_.length() || skip + length > log_.length() - block_at)
    throw file_.corrupt(entry_at, "a block beyond the end of the file");
  if (!log_.empty() && log_.touches(at, length))
    throw file_.unsupported("the log that is to be replayed changes the disk's content")
        .hint("replay it with 'qemu-img check -r all', or attach the disk in Hyper-V once");
  // What the replay adds to the file's length reads as zeros.
  const uint64_t real = file_.length() > at ? std::min(length, file_.length() - at) : 0;
  out.bytes(guest, real, file_.source(), at);
  out.zeros(guest + real, length - real, true);
}

}  // namespace

bool is_vhdx(Op op, const SourceRef& source) {
  const ImageFile file(source, "vhdx");
  std::array<uint8_t, 8> magic{};
  if (file.length() < magic.size()) return false;
  file.read(op, 0, magic.data(), magic.size(), "the file identifier");
  return std::memcmp(magic.data(), "vhdxfile", 8) == 0;
}

std::unique_ptr<ImageMap> open_vhdx(Op op, const SourceRef& source) {
  return std::make_unique<VhdxMap>(op, source);
}

}  // namespace hyper::disk
