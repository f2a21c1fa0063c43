// SPDX-License-Identifier: Apache-2.0
// The state of an NTFS: the flag of its $Volume, and the first bytes of its hiberfil.sys.
#include <algorithm>
#include <optional>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kVolumeFile = 3, kRootDirectory = 5;
constexpr uint32_t kVolumeInformation = 0x70, kData = 0x80, kIndexRoot = 0x90,
                   kIndexAllocation = 0xa0, kEndOfAttributes = 0xffffffff;
constexpr uint64_t kMostRuns = 256;
constexpr uint64_t kMostIndexBlocks = 64;
constexpr uint64_t kSector = 512;

struct Run {
  uint64_t begin, length;  ///< in clusters; begin UINT64_MAX: a hole
};

/// Where an attribute stands in its record.
struct Attribute {
  uint64_t at = 0, length = 0;
  bool resident = true;
};

class Ntfs {
 public:
  Ntfs(DiskBytes& disk, const Volume& volume, const Bytes& boot) : disk_(disk), volume_(volume) {
    const uint64_t sector = boot.le16(11);
    const uint8_t per_cluster = boot.at(13);
    cluster_ = per_cluster <= 0x80 ? sector * per_cluster
                                   : sector << std::min<unsigned>(256u - per_cluster, 20);
    const auto per_record = static_cast<int8_t>(boot.at(64));
    record_ = per_record >= 0 ? product(static_cast<uint64_t>(per_record), cluster_)
                              : uint64_t{1} << std::min<int>(-per_record, 20);
    table_at_ = product(boot.le64(48), cluster_);
  }

  bool sound() const {
    return cluster_ >= kSector && cluster_ <= 2 << 20 && record_ >= kSector && record_ <= 65536 &&
           record_ % kSector == 0;
  }

  /// A record of the master file table, which may lie in pieces.
  std::optional<Bytes> record(uint64_t number) {
    if (table_runs_.empty()) {
      std::optional<Bytes> first = whole(read_in(disk_, volume_, table_at_, record_), "FILE");
      if (!first) return std::nullopt;
      if (const auto data = find(*first, kData); data && !data->resident)
        table_runs_ = runs(*first, *data);
      if (number == 0) return first;
    }
    const uint64_t at = place(table_runs_, product(number, record_));
    return at == UINT64_MAX ? std::nullopt : whole(read_in(disk_, volume_, at, record_), "FILE");
  }

  /// The first unnamed attribute of the kind; of an index, the one of names.
  static std::optional<Attribute> find(const Bytes& record, uint32_t kind) {
    for (uint64_t at = record.le16(20); at + 16 <= record.size();) {
      const uint32_t type = record.le32(at), length = record.le32(at + 4);
      if (type == kEndOfAttributes || length < 16 || length > record.size() - at) break;
      const bool named = record.at(at + 9) != 0;
      if (type == kind && (!named || kind == kIndexRoot || kind == kIndexAllocation))
        return Attribute{at, length, record.at(at + 8) == 0};
      at += length;
    }
    return std::nullopt;
  }

  /// The content of a resident attribute, from the record's beginning.
  static std::optional<uint64_t> content(const Bytes& record, uint32_t kind, uint64_t least) {
    const auto found = find(record, kind);
    if (!found || !found->resident) return std::nullopt;
    const uint64_t length = record.le32(found->at + 16), offset = record.le16(found->at + 20);
    if (offset > found->length || length > found->length - offset || length < least)
      return std::nullopt;
    return found->at + offset;
  }

  static std::vector<Run> runs(const Bytes& record, const Attribute& attribute) {
    std::vector<Run> out;
    const uint64_t end = attribute.at + attribute.length;
    uint64_t cluster = 0;
    for (uint64_t at = attribute.at + record.le16(attribute.at + 32); at < end;) {
      const uint8_t widths = record.at(at);
      const unsigned length = widths & 15, offset = widths >> 4;
      if (widths == 0 || length > 8 || offset > 8 || length == 0 || end - at <= length + offset)
        break;
      Run run{UINT64_MAX, record.little(at + 1, length)};
      if (offset != 0) {
        uint64_t step = record.little(at + 1 + length, offset);
        if (offset < 8 && (step >> (8 * offset - 1) & 1) != 0) step |= ~uint64_t{0} << 8 * offset;
        cluster += step;  // a negative step wraps
        run.begin = cluster;
      }
      out.push_back(run);
      if (out.size() == kMostRuns) break;
      at += 1 + length + offset;
    }
    return out;
  }

  /// Where a byte of the runs lies in the volume; UINT64_MAX: nowhere.
  uint64_t place(const std::vector<Run>& runs, uint64_t offset) const {
    for (const Run& run : runs) {
      const uint64_t length = product(run.length, cluster_);
      if (offset < length)
        return run.begin == UINT64_MAX ? UINT64_MAX : sum(product(run.begin, cluster_), offset);
      offset -= length;
    }
    return UINT64_MAX;
  }

  /// With the last two bytes of each sector as they were; nothing where the block is torn.
  static std::optional<Bytes> whole(Bytes block, std::string_view magic) {
    if (!block.has(0, magic)) return std::nullopt;
    const uint64_t at = block.le16(4), count = block.le16(6);
    if (count != block.size() / kSector + 1 || at + count * 2 > block.size()) return std::nullopt;
    for (uint64_t i = 1; i < count; ++i) {
      const uint64_t end = i * kSector - 2;
      if (block.le16(end) != block.le16(at)) return std::nullopt;
      block.set(end, block.at(at + i * 2));
      block.set(end + 1, block.at(at + i * 2 + 1));
    }
    return block;
  }

  /// The record of a file in the root directory.
  std::optional<uint64_t> in_root(std::string_view name) {
    const auto root = record(kRootDirectory);
    if (!root) return std::nullopt;
    const auto index = content(*root, kIndexRoot, 32);
    if (!index) return std::nullopt;
    if (const auto found = among(*root, *index + 16, name)) return found;
    const uint64_t block = root->le32(*index + 8);
    const auto allocation = find(*root, kIndexAllocation);
    if (!allocation || allocation->resident || block < kSector || block > 65536 ||
        block % kSector != 0)
      return std::nullopt;
    const std::vector<Run> blocks = runs(*root, *allocation);
    for (uint64_t i = 0; i < kMostIndexBlocks; ++i) {
      const uint64_t at = place(blocks, i * block);
      if (at == UINT64_MAX) break;
      const auto names = whole(read_in(disk_, volume_, at, block), "INDX");
      if (!names) continue;  // one that is not in use
      if (const auto found = among(*names, 24, name)) return found;
    }
    return std::nullopt;
  }

  /// The first bytes of a file that is not kept in its record.
  Bytes front(uint64_t file, uint64_t length) {
    const auto its = record(file);
    if (!its) return {};
    const auto data = find(*its, kData);
    if (!data || data->resident) return {};
    front_at_ = place(runs(*its, *data), 0);
    return front_at_ == UINT64_MAX ? Bytes() : read_in(disk_, volume_, front_at_, length);
  }
  /// Of the last front(), in the volume.
  uint64_t front_at() const { return front_at_; }

 private:
  /// The entries behind a header of an index node.
  static std::optional<uint64_t> among(const Bytes& node, uint64_t header, std::string_view name) {
    const uint64_t end = std::min(sum(header, node.le32(header + 4)), node.size());
    for (uint64_t at = sum(header, node.le32(header)); at + 16 <= end;) {
      const uint64_t length = node.le16(at + 8);
      if ((node.le16(at + 12) & 2) != 0 || length < 16) break;
      if (is_name(node, at + 16, name)) return node.little(at, 6);
      at += length;
    }
    return std::nullopt;
  }
  /// A $FILE_NAME, whose name is UTF-16.
  static bool is_name(const Bytes& node, uint64_t at, std::string_view name) {
    if (node.at(at + 64) != name.size()) return false;
    for (std::size_t i = 0; i < name.size(); ++i) {
      uint16_t c = node.le16(at + 66 + 2 * i);
      if (c >= 'A' && c <= 'Z') c = static_cast<uint16_t>(c - 'A' + 'a');
      if (c != static_cast<unsigned char>(name[i])) return false;
    }
    return true;
  }

  DiskBytes& disk_;
  const Volume& volume_;
  uint64_t cluster_ = 0, record_ = 0, table_at_ = 0, front_at_ = UINT64_MAX;
  std::vector<Run> table_runs_;
};

}  // namespace

void read_ntfs(DiskBytes& disk, Volume& volume, const Bytes& head) {
  Ntfs ntfs(disk, volume, head);
  if (!ntfs.sound()) return;
  if (const auto record = ntfs.record(kVolumeFile))
    if (const auto at = Ntfs::content(*record, kVolumeInformation, 12))
      if ((record->le16(*at + 10) & 1) != 0) {
        volume.dirty = true;
        volume.state = "$Volume is marked dirty";
      }
  const auto file = ntfs.in_root("hiberfil.sys");
  if (!file) return;
  const Bytes front = ntfs.front(*file, 4096);
  // "wake" is what a system leaves that has come back.
  for (const char* saved : {"hibr", "HIBR"})
    if (front.has(0, saved)) {
      volume.hibernated = true;
      volume.state_at = sum(volume.offset, ntfs.front_at());
      volume.state = "hiberfil.sys begins with " + std::string(saved);
    }
}

}  // namespace hyperhost
