// SPDX-License-Identifier: Apache-2.0
// qcow2, versions 2 and 3: zlib and zstd clusters, zero clusters, extended L2 entries, and backing
// files where they are allowed (backing.cpp); internal snapshots are passed over. Refused: external
// data files, encryption, and images marked corrupt. Specification: docs/interop/qcow2.txt of QEMU.
#include <algorithm>
#include <array>
#include <string>

#include "format/backing.hpp"
#include "format/bytes.hpp"
#include "format/image_file.hpp"
#include "format/probe.hpp"
#include "format/run_merger.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr uint64_t kCompressed = 1ull << 62;
constexpr uint64_t kZero = 1;
constexpr uint64_t kIncompatibleDirty = 1, kIncompatibleCorrupt = 2, kIncompatibleData = 4,
                   kIncompatibleCompression = 8, kIncompatibleExtended = 16;
constexpr uint64_t kMaxL1Bytes = 32u << 20;
constexpr uint32_t kSubclusters = 32;
constexpr uint64_t kBatch = 512;  // L2 entries read at once

class Qcow2Map final : public ImageMap {
 public:
  Qcow2Map(Op op, const SourceRef& source, const Backing& backing) : file_(source, "qcow2") {
    std::array<uint8_t, 112> header{};
    file_.read(op, 0, header.data(), 72, "the header");
    if (header[0] != 'Q' || header[1] != 'F' || header[2] != 'I' || header[3] != 0xfb)
      throw file_.corrupt(0, "no qcow2 signature");
    const uint32_t version = be32(&header[4]);
    if (version != 2 && version != 3)
      throw file_.unsupported("qcow version " + std::to_string(version));
    cluster_bits_ = be32(&header[20]);
    if (cluster_bits_ < 9 || cluster_bits_ > 21)
      throw file_.corrupt(20, "an impossible cluster size");
    cluster_ = uint64_t{1} << cluster_bits_;
    size_ = be64(&header[24]);
    if (size_ > INT64_MAX) throw file_.corrupt(24, "an impossible disk size");
    if (be32(&header[32]) != 0)
      throw file_.unsupported("the image is encrypted").hint("decrypt it with qemu-img");
    if (version == 3) read_features(op, header);
    const BackingName below = read_backing_name(op, file_, be64(&header[8]), be32(&header[16]),
                                                version == 3 ? be32(&header[100]) : 72, cluster_);
    if (!below.name.empty()) backing_ = open_backing(op, file_, below, backing);
    l1_entries_ = be32(&header[36]);
    l1_ = be64(&header[40]);
    snapshots_ = be32(&header[60]);
    check_l1();
  }

  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "qcow2"; }
  std::string subformat() const override { return {}; }
  std::vector<std::string> notes() const override {
    if (snapshots_ == 0) return {};
    return {"the image has " + std::to_string(snapshots_) +
            (snapshots_ == 1 ? " internal snapshot" : " internal snapshots") +
            "; only the current state is converted"};
  }

  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    const uint64_t end = offset + length, reach = cluster_ * entries_per_l2();
    while (offset < end) {
      op.check_cancelled();
      const uint64_t index = offset / reach;
      const uint64_t part = std::min(end - offset, reach - offset % reach);
      std::array<uint8_t, 8> entry;
      file_.read(op, l1_ + index * 8, entry.data(), 8, "the L1 table");
      const uint64_t l2 = be64(entry.data()) & kOffsetMask;
      if (l2 == 0)
        unallocated(op, offset, part, out);
      else if (l2 % cluster_ != 0 || !file_.holds(l2, cluster_))
        throw file_.corrupt(l1_ + index * 8, "an L2 table that is not within the file");
      else
        map_table(op, l2, offset, part, out);
      offset += part;
    }
    out.finish();
  }

 private:
  uint64_t entry_bytes() const { return extended_ ? 16 : 8; }
  uint64_t entries_per_l2() const { return cluster_ / entry_bytes(); }

  void read_features(Op op, std::array<uint8_t, 112>& header) {
    file_.read(op, 72, &header[72], 32, "the header");
    const uint32_t header_length = be32(&header[100]);
    if (header_length < 104) throw file_.corrupt(100, "an impossible header length");
    const uint64_t features = be64(&header[72]);
    if ((features & kIncompatibleCorrupt) != 0)
      throw file_.corrupt(72, "the image is marked as corrupt").hint("try qemu-img check -r all");
    if ((features & kIncompatibleData) != 0)
      throw file_.unsupported("the image's data is in an external file");
    extended_ = (features & kIncompatibleExtended) != 0;
    if (extended_ && cluster_bits_ < 14)
      throw file_.corrupt(72, "extended L2 entries with clusters below 16 KiB");
    if ((features & kIncompatibleCompression) != 0) {
      if (header_length < 105) throw file_.corrupt(100, "no room for the compression type");
      file_.read(op, 104, &header[104], 1, "the header");
      if (header[104] > 1)
        throw file_.unsupported("compression type " + std::to_string(header[104]));
      codec_ = header[104] == 1 ? Codec::kZstd : Codec::kRawDeflate;
    }
    constexpr uint64_t kKnown = kIncompatibleDirty | kIncompatibleCorrupt | kIncompatibleData |
                                kIncompatibleCompression | kIncompatibleExtended;
    if ((features & ~kKnown) != 0)
      throw file_.unsupported("the image uses features that are not known here");
  }

  /// What the image has no word on: the backing file's bytes as far as there are any.
  void unallocated(Op op, uint64_t guest, uint64_t length, RunMerger& out) const {
    const uint64_t below = backing_ ? backing_->map->virtual_size() : 0;
    const uint64_t part = guest < below ? std::min(length, below - guest) : 0;
    if (part != 0)
      backing_->map->map(op, guest, part, [&](const Mapped& piece) { out.mapped(piece); });
    out.zeros(guest + part, length - part, true);
  }

  void check_l1() const {
    const uint64_t reach = cluster_ * entries_per_l2();  // at most 2^39
    const uint64_t need = size_ / reach + (size_ % reach != 0 ? 1 : 0);
    if (need > l1_entries_)
      throw file_.corrupt(
          36, "the L1 table is too short for a disk of " + std::to_string(size_) + " bytes");
    if (need * 8 > kMaxL1Bytes) throw file_.corrupt(36, "an L1 table of more than 32 MiB");
    if (need != 0 && !file_.holds(l1_, need * 8))
      throw file_.corrupt(40, "the L1 table lies beyond the end of the file");
  }

  void map_table(Op op, uint64_t table, uint64_t offset, uint64_t length, RunMerger& out) const {
    const uint64_t end = offset + length;
    uint64_t blank = 0;  // bytes in front of offset that the image has no word on
    std::array<uint8_t, kBatch * 8> entries;
    const uint64_t at_once = entries.size() / entry_bytes();
    while (offset < end) {
      const uint64_t index = offset / cluster_ % entries_per_l2();
      const uint64_t last = (end - 1) / cluster_ % entries_per_l2();
      const uint64_t count = std::min(at_once, last - index + 1);
      const uint64_t at = table + index * entry_bytes();
      file_.read(op, at, entries.data(), count * entry_bytes(), "an L2 table");
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t part = std::min(end - offset, cluster_ - offset % cluster_);
        const uint8_t* bytes = &entries[i * entry_bytes()];
        const uint64_t entry = be64(bytes), bitmap = extended_ ? be64(bytes + 8) : 0;
        if ((entry & (kCompressed | kOffsetMask)) == 0 && bitmap == 0 &&
            (extended_ || (entry & kZero) == 0)) {
          blank += part;
        } else {
          unallocated(op, offset - blank, blank, out);
          blank = 0;
          map_entry(op, entry, bitmap, at + i * entry_bytes(), offset, part, out);
        }
        offset += part;
      }
    }
    unallocated(op, offset - blank, blank, out);
  }

  void map_entry(Op op, uint64_t entry, uint64_t bitmap, uint64_t entry_offset, uint64_t guest,
                 uint64_t length, RunMerger& out) const {
    if ((entry & kCompressed) != 0) {
      if (bitmap != 0) throw file_.corrupt(entry_offset, "a compressed cluster with subclusters");
      return map_compressed(entry, entry_offset, guest, length, out);
    }
    const uint64_t host = entry & kOffsetMask;
    if (host % cluster_ != 0) throw file_.corrupt(entry_offset, "a cluster that is not aligned");
    if (extended_) return map_subclusters(op, host, bitmap, entry_offset, guest, length, out);
    if ((entry & kZero) != 0) return out.zeros(guest, length, host == 0);
    map_bytes(host, entry_offset, guest, length, out);
  }

  void map_bytes(uint64_t host, uint64_t entry_offset, uint64_t guest, uint64_t length,
                 RunMerger& out) const {
    const uint64_t at = host + guest % cluster_;
    // The file may end within its last cluster, but only behind what the guest sees of it: no
    // writer leaves out more, so a file that does was cut off (QEMU would read zeros there).
    if (!file_.holds(at, length))
      throw file_.corrupt(entry_offset, "a cluster beyond the file's end");
    out.bytes(guest, length, file_.source(), at);
  }

  void map_subclusters(Op op, uint64_t host, uint64_t bitmap, uint64_t entry_offset, uint64_t guest,
                       uint64_t length, RunMerger& out) const {
    const uint64_t sub = cluster_ / kSubclusters, end = guest + length;
    while (guest < end) {
      const unsigned index = static_cast<unsigned>(guest % cluster_ / sub);
      const uint64_t part = std::min(end - guest, sub - guest % sub);
      const bool allocated = (bitmap >> index & 1) != 0, zero = (bitmap >> (32 + index) & 1) != 0;
      if (allocated && zero)
        throw file_.corrupt(entry_offset, "a subcluster that is allocated and zero at once");
      if (allocated && host == 0)
        throw file_.corrupt(entry_offset, "a subcluster without a cluster");
      if (allocated)
        map_bytes(host, entry_offset, guest, part, out);
      else if (zero)
        out.zeros(guest, part, false);
      else
        unallocated(op, guest, part, out);
      guest += part;
    }
  }

  void map_compressed(uint64_t entry, uint64_t entry_offset, uint64_t guest, uint64_t length,
                      RunMerger& out) const {
    const unsigned offset_bits = 62 - (cluster_bits_ - 8);
    const uint64_t host = entry & ((uint64_t{1} << offset_bits) - 1);
    const uint64_t sectors =
        ((entry & (kCompressed - 1)) >> offset_bits) + 1;  // the one host lies in included
    Mapped unit;
    unit.guest_offset = guest;
    unit.length = length;
    unit.codec = codec_;
    unit.file = &file_.source();
    unit.file_offset = host;
    unit.file_length = sectors * kSector - host % kSector;
    unit.unit_offset = guest / cluster_ * cluster_;
    unit.unit_length = cluster_;
    if (!file_.holds(host, 1))
      throw file_.corrupt(entry_offset, "a compressed cluster beyond the file's end");
    unit.file_length = std::min(unit.file_length, file_.length() - host);
    out.unit(unit);
  }

  ImageFile file_;
  std::unique_ptr<BackingImage> backing_;
  uint64_t size_ = 0, cluster_ = 0, l1_ = 0, l1_entries_ = 0;
  uint32_t cluster_bits_ = 0, snapshots_ = 0;
  bool extended_ = false;
  Codec codec_ = Codec::kRawDeflate;
};

}  // namespace

std::unique_ptr<ImageMap> open_qcow2(Op op, const SourceRef& source, const Backing& backing) {
  return std::make_unique<Qcow2Map>(op, source, backing);
}

}  // namespace hyper::disk
