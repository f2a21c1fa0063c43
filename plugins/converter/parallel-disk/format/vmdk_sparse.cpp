// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk_sparse.hpp"

#include <algorithm>
#include <array>

#include "format/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint32_t kFlagRedundant = 1u << 1;
constexpr uint32_t kFlagZeroGrain = 1u << 2;
constexpr uint32_t kFlagCompressed = 1u << 16;
constexpr uint32_t kFlagMarkers = 1u << 17;
constexpr uint64_t kDirectoryAtEnd = UINT64_MAX;
constexpr uint32_t kMarkerFooter = 3;
constexpr uint64_t kMarkerBytes = 12;  // of a grain: u64 lba, u32 size
constexpr uint32_t kZeroedGrain = 1;
constexpr uint64_t kMaxGrain = 1u << 30;
// A reader that inflates a grain holds it whole: 64 KiB in every writer known, and never this much.
constexpr uint64_t kMaxCompressedGrain = 2u << 20;
constexpr uint64_t kMaxDescriptor = 1u << 20;
constexpr uint64_t kCowdEntries = 4096;
constexpr std::size_t kGrainBatch = 512;

bool sectors_to_bytes(uint64_t sectors, uint64_t& bytes) {
  if (sectors > static_cast<uint64_t>(INT64_MAX) / kSector) return false;
  bytes = sectors * kSector;
  return true;
}

// The header in front says that the real one stands at the end of the file, between a footer
// marker and an end-of-stream marker, a sector each.
uint64_t read_footer(Op op, const ImageFile& file, std::array<uint8_t, kSector>& header) {
  if (file.length() < 4 * kSector) throw file.corrupt(0, "no room for the footer it announces");
  const uint64_t at = file.length() - 3 * kSector;
  std::array<uint8_t, 3 * kSector> end;
  file.read(op, at, end.data(), end.size(), "the footer");
  const uint8_t* stop = end.data() + 2 * kSector;
  if (le32(&end[8]) != 0 || le32(&end[12]) != kMarkerFooter ||
      std::memcmp(&end[kSector], "KDMV", 4) != 0 || le64(stop) != 0 || le32(stop + 8) != 0 ||
      le32(stop + 12) != 0)
    throw file.corrupt(at, "the file does not end in the footer its header announces");
  std::memcpy(header.data(), &end[kSector], kSector);
  return at + kSector;
}

}  // namespace

SparseExtent SparseExtent::open_hosted(Op op, std::shared_ptr<const ImageFile> file) {
  SparseExtent self(std::move(file));
  std::array<uint8_t, kSector> header;
  self.file_->read(op, 0, header.data(), header.size(), "the sparse extent's header");
  if (std::memcmp(header.data(), "KDMV", 4) != 0)
    throw self.file_->corrupt(0, "no sparse extent header (KDMV)");
  uint64_t at = 0;
  if (le64(&header[56]) == kDirectoryAtEnd) at = read_footer(op, *self.file_, header);

  const uint32_t version = le32(&header[4]);
  if (version < 1 || version > 3)
    throw self.file_->unsupported("sparse extent version " + std::to_string(version));
  const uint32_t flags = le32(&header[8]);
  const uint16_t algorithm = le16(&header[77]);
  if (algorithm > 1 || ((flags & kFlagCompressed) != 0 && algorithm != 1))
    throw self.file_->unsupported("compression algorithm " + std::to_string(algorithm));
  self.compressed_ = algorithm == 1;
  self.has_markers_ = (flags & kFlagMarkers) != 0;
  self.has_zero_grains_ = (flags & kFlagZeroGrain) != 0;
  self.entries_per_table_ = le32(&header[44]);
  if (!sectors_to_bytes(le64(&header[12]), self.capacity_))
    throw self.file_->corrupt(at + 12, "an impossible capacity");
  if (!sectors_to_bytes(le64(&header[20]), self.grain_bytes_))
    throw self.file_->corrupt(at + 20, "an impossible grain size");
  if (!sectors_to_bytes(le64(&header[28]), self.descriptor_offset_) ||
      !sectors_to_bytes(le64(&header[36]), self.descriptor_length_))
    throw self.file_->corrupt(at + 28, "an impossible place of the descriptor");
  if (!sectors_to_bytes(le64(&header[56]), self.directory_))
    throw self.file_->corrupt(at + 56, "an impossible place of the grain directory");
  if ((flags & kFlagRedundant) == 0 || !sectors_to_bytes(le64(&header[48]), self.spare_directory_))
    self.spare_directory_ = 0;
  if (self.capacity_ != 0) self.check_geometry();
  return self;
}

SparseExtent SparseExtent::open_cowd(Op op, std::shared_ptr<const ImageFile> file) {
  SparseExtent self(std::move(file));
  std::array<uint8_t, 32> header;
  self.file_->read(op, 0, header.data(), header.size(), "the sparse extent's header");
  if (std::memcmp(header.data(), "COWD", 4) != 0)
    throw self.file_->corrupt(0, "no sparse extent header (COWD)");
  if (le32(&header[4]) != 1)
    throw self.file_->unsupported("COWD version " + std::to_string(le32(&header[4])));
  self.capacity_ = le32(&header[12]) * kSector;
  self.grain_bytes_ = le32(&header[16]) * kSector;
  self.directory_ = le32(&header[20]) * kSector;
  self.entries_per_table_ = kCowdEntries;
  self.check_geometry();
  return self;
}

void SparseExtent::check_geometry() {
  if (!is_power_of_two(grain_bytes_) || grain_bytes_ > kMaxGrain)
    throw file_->corrupt(20, "a grain size of " + std::to_string(grain_bytes_) + " bytes");
  if (compressed_ && grain_bytes_ > kMaxCompressedGrain)
    throw file_->unsupported("compressed grains of " + std::to_string(grain_bytes_) + " bytes");
  if (entries_per_table_ == 0 || entries_per_table_ > kCowdEntries)
    throw file_->corrupt(44, std::to_string(entries_per_table_) + " entries in a grain table");
  directory_entries_ = div_round_up(capacity_, grain_bytes_ * entries_per_table_);
  const uint64_t bytes = directory_entries_ * 4;  // at most 2^63 / 2^9 * 4
  if (spare_directory_ != 0 && !file_->holds(spare_directory_, bytes)) spare_directory_ = 0;
  if (directory_ == 0 || !file_->holds(directory_, bytes)) {
    if (spare_directory_ == 0)
      throw file_->corrupt(directory_, "the grain directory (" + std::to_string(bytes) +
                                           " bytes) lies beyond the end of the file");
    directory_ = spare_directory_;
  }
}

std::string SparseExtent::descriptor(Op op) const {
  if (descriptor_offset_ == 0 || descriptor_length_ == 0) return {};
  if (descriptor_length_ > kMaxDescriptor)
    throw file_->corrupt(36, "a descriptor of " + std::to_string(descriptor_length_) + " bytes");
  if (!file_->holds(descriptor_offset_, descriptor_length_))
    throw file_->corrupt(descriptor_offset_, "the descriptor is cut off");
  std::string text(descriptor_length_, '\0');
  file_->read(op, descriptor_offset_, text.data(), text.size(), "the descriptor");
  return text.substr(0, std::min(text.find('\0'), text.size()));
}

// The file offset of a grain table, 0 if there is none. Where the entry leads out of the file, the
// redundant directory's copy of the table is as good.
uint64_t SparseExtent::grain_table(Op op, uint64_t index) const {
  const uint64_t bytes = entries_per_table_ * 4;
  std::array<uint8_t, 4> entry;
  file_->read(op, directory_ + index * 4, entry.data(), 4, "the grain directory");
  const uint64_t table = le32(entry.data()) * kSector;
  if (file_->holds(table, bytes)) return table;
  if (spare_directory_ != 0) {
    file_->read(op, spare_directory_ + index * 4, entry.data(), 4, "the grain directory");
    const uint64_t spare = le32(entry.data()) * kSector;
    if (spare != 0 && file_->holds(spare, bytes)) return spare;
  }
  throw file_->corrupt(directory_ + index * 4, "a grain table beyond the end of the file");
}

void SparseExtent::map(Op op, uint64_t offset, uint64_t length, uint64_t guest_base,
                       RunMerger& out) const {
  const uint64_t end = offset + length;
  std::array<uint8_t, kGrainBatch * 4> entries;
  while (offset < end) {
    op.check_cancelled();
    uint64_t grain = offset / grain_bytes_;
    const uint64_t index = grain / entries_per_table_;
    // The last table's reach may be beyond 2^64, but grains beyond `end` are not asked for.
    const uint64_t last = std::min((index + 1) * entries_per_table_,  //
                                   div_round_up(end, grain_bytes_));
    const uint64_t table = grain_table(op, index);
    if (table == 0) {
      const uint64_t stop = std::min(end, last * grain_bytes_);
      out.zeros(guest_base + offset, stop - offset, true);
      offset = stop;
      continue;
    }
    while (grain < last) {
      const uint64_t at = table + grain % entries_per_table_ * 4;
      const uint64_t count = std::min<uint64_t>(last - grain, kGrainBatch);
      file_->read(op, at, entries.data(), count * 4, "a grain table");
      for (uint64_t i = 0; i < count; ++i, ++grain) {
        const uint64_t skip = offset % grain_bytes_;
        const uint64_t part = std::min(end - offset, grain_bytes_ - skip);
        map_grain(op, grain, le32(&entries[i * 4]), at + i * 4, skip, part, guest_base, out);
        offset += part;
      }
      op.check_cancelled();
    }
  }
}

void SparseExtent::map_grain(Op op, uint64_t grain, uint32_t entry, uint64_t entry_offset,
                             uint64_t skip, uint64_t length, uint64_t guest_base,
                             RunMerger& out) const {
  const uint64_t guest = guest_base + grain * grain_bytes_ + skip;
  if (entry == 0) return out.zeros(guest, length, true);
  if (entry == kZeroedGrain && has_zero_grains_) return out.zeros(guest, length, false);
  const uint64_t at = entry * kSector;
  const bool in_descriptor =
      at >= descriptor_offset_ && at - descriptor_offset_ < descriptor_length_;
  if (in_descriptor || (descriptor_offset_ == 0 && entry == kZeroedGrain))
    throw file_->corrupt(entry_offset, "a grain within the header or the descriptor");
  if (compressed_) {
    if (!file_->holds(at, kMarkerBytes))
      throw file_->corrupt(entry_offset, "a grain beyond the end of the file");
    return map_compressed(op, grain, entry, skip, length, guest_base, out);
  }
  if (!file_->holds(at, skip + length))
    throw file_->corrupt(entry_offset, "a grain beyond the end of the file");
  out.bytes(guest, length, file_->source(), at + skip);
}

void SparseExtent::map_compressed(Op op, uint64_t grain, uint32_t entry, uint64_t skip,
                                  uint64_t length, uint64_t guest_base, RunMerger& out) const {
  const uint64_t at = entry * kSector;
  const uint64_t start = grain * grain_bytes_;
  Mapped unit;
  unit.guest_offset = guest_base + start + skip;
  unit.length = length;
  unit.codec = Codec::kZlib;
  unit.file = &file_->source();
  unit.unit_offset = guest_base + start;
  unit.unit_length = std::min(grain_bytes_, capacity_ - start);
  if (has_markers_) {
    std::array<uint8_t, kMarkerBytes> marker;
    file_->peek(op, at, marker.data(), marker.size(), "a grain's marker");
    if (le64(marker.data()) != start / kSector)
      throw file_->corrupt(at, "a grain's marker says sector " +
                                   std::to_string(le64(marker.data())) + " instead of " +
                                   std::to_string(start / kSector));
    unit.file_offset = at + kMarkerBytes;
    unit.file_length = le32(&marker[8]);
    if (unit.file_length == 0 || unit.file_length > 2 * grain_bytes_)
      throw file_->corrupt(at + 8,
                           "a compressed grain of " + std::to_string(unit.file_length) + " bytes");
    if (!file_->holds(unit.file_offset, unit.file_length))
      throw file_->corrupt(at, "a compressed grain is cut off by the end of the file");
  } else {
    unit.file_offset = at;
    unit.file_length = std::min(2 * grain_bytes_, file_->length() - at);
  }
  out.unit(unit);
}

}  // namespace hyper::disk
