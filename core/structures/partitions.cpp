// SPDX-License-Identifier: Apache-2.0
// The master boot record, its logical partitions, the GUID partition table and its second copy.
#include <algorithm>
#include <optional>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kBootCode = 440, kMbrEntries = 446, kMbrEntry = 16, kSignatureAt = 510;
constexpr uint16_t kSignature = 0xaa55;
constexpr uint64_t kMostLogical = 64, kMostGpt = 1024;
constexpr uint64_t kMostEntrySize = 1024;

bool is_extended(uint8_t type) {
  return type == 0x05 || type == 0x0f || type == 0x85;
}

std::string hex_byte(uint8_t value) {
  const char* digits = "0123456789ABCDEF";
  return {digits[value >> 4], digits[value & 15]};
}

/// CRC-32 as GPT has it.
uint32_t checksum(const Bytes& bytes, uint64_t length) {
  uint32_t crc = ~uint32_t{0};
  for (uint64_t i = 0; i < length; ++i) {
    crc ^= bytes.at(i);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

struct MbrEntry {
  uint8_t status, type;
  uint64_t start, length;  ///< in sectors
};

MbrEntry mbr_entry(const Bytes& sector, unsigned index) {
  const uint64_t at = kMbrEntries + index * kMbrEntry;
  return {sector.at(at), sector.at(at + 4), sector.le32(at + 8), sector.le32(at + 12)};
}

/// Whether the sector can be a table: boot sectors of file systems have the same signature.
bool is_mbr(const Bytes& sector) {
  if (sector.le16(kSignatureAt) != kSignature) return false;
  bool any = false;
  for (unsigned i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(sector, i);
    if (entry.status != 0 && entry.status != 0x80) return false;
    any = any || (entry.type != 0 && entry.length != 0);
  }
  return any;
}

/// False: it begins beyond the disk.
bool add(const DiskBytes& disk, DiskStructure& out, Volume volume) {
  if (volume.offset >= disk.length()) {
    out.problems.push_back("partition " + std::to_string(volume.number) +
                           " begins beyond the end of the disk");
    return false;
  }
  if (volume.length > disk.length() - volume.offset) {
    out.problems.push_back("partition " + std::to_string(volume.number) +
                           " ends beyond the end of the disk");
    volume.length = disk.length() - volume.offset;
  }
  out.volumes.push_back(std::move(volume));
  return true;
}

Volume mbr_volume(unsigned number, uint64_t start, const MbrEntry& entry) {
  Volume out;
  out.number = number;
  out.offset = product(start, 512);
  out.length = product(entry.length, 512);
  out.type = hex_byte(entry.type);
  out.active = entry.status == 0x80;
  return out;
}

/// A chain of tables of which each has one partition and the place of the next.
void read_logical(DiskBytes& disk, DiskStructure& out, uint64_t base) {
  uint64_t at = base;
  for (unsigned number = 5; number < 5 + kMostLogical; ++number) {
    const Bytes sector = disk.read(product(at, 512), 512);
    if (sector.le16(kSignatureAt) != kSignature) {
      if (!disk.cut()) out.problems.push_back("the chain of logical partitions is broken");
      return;
    }
    const MbrEntry one = mbr_entry(sector, 0), next = mbr_entry(sector, 1);
    if (one.type != 0 && one.length != 0) add(disk, out, mbr_volume(number, at + one.start, one));
    if (!is_extended(next.type) || next.length == 0) return;
    if (base + next.start <= at) {
      out.problems.push_back("the chain of logical partitions runs in a circle");
      return;
    }
    at = base + next.start;
  }
}

void read_mbr(DiskBytes& disk, const Bytes& head, DiskStructure& out) {
  out.table = "mbr";
  std::optional<uint64_t> extended;
  for (unsigned i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(head, i);
    if (entry.type == 0 || entry.length == 0) continue;
    if (is_extended(entry.type))
      extended = extended ? extended : entry.start;
    else
      add(disk, out, mbr_volume(i + 1, entry.start, entry));
  }
  if (extended) read_logical(disk, out, *extended);
}

struct GptHeader {
  uint64_t other, entries_at;  ///< in sectors
  uint64_t count, entry_size;
  uint32_t entries_checksum;
};

/// A header whose own checksum is right.
std::optional<GptHeader> gpt_header(DiskBytes& disk, uint64_t sector, uint64_t sector_size) {
  Bytes header = disk.read(product(sector, sector_size), sector_size);
  const uint64_t size = header.le32(12);
  if (!header.has(0, "EFI PART") || size < 92 || size > header.size()) return std::nullopt;
  const uint32_t expected = header.le32(16);
  for (uint64_t i = 16; i < 20; ++i) header.set(i, 0);
  if (checksum(header, size) != expected || header.le64(24) != sector) return std::nullopt;
  return GptHeader{header.le64(32), header.le64(72), header.le32(80), header.le32(84),
                   header.le32(88)};
}

/// False: the entries are not what the header has a checksum of.
bool read_entries(DiskBytes& disk, const GptHeader& header, uint64_t sector_size,
                  DiskStructure& out) {
  if (header.entry_size < 128 || header.entry_size > kMostEntrySize || header.count > kMostGpt)
    return false;
  const uint64_t length = header.count * header.entry_size;
  const Bytes entries = disk.read(product(header.entries_at, sector_size), length);
  if (entries.size() != length || checksum(entries, length) != header.entries_checksum)
    return false;
  for (uint64_t i = 0; i < header.count; ++i) {
    const uint64_t at = i * header.entry_size;
    if (entries.all_zero(at, 16)) continue;
    Volume one;
    one.number = static_cast<unsigned>(i + 1);
    one.type = guid_text(entries, at);
    const uint64_t first = entries.le64(at + 32), last = entries.le64(at + 40);
    one.offset = product(first, sector_size);
    one.length = last < first ? 0 : product(last - first + 1, sector_size);
    one.active = (entries.at(at + 48) & 4) != 0;  // "legacy BIOS bootable"
    if (one.length == 0)
      out.problems.push_back("partition " + std::to_string(one.number) + " ends before it begins");
    else
      add(disk, out, std::move(one));
  }
  return true;
}

bool read_gpt(DiskBytes& disk, uint64_t sector_size, DiskStructure& out) {
  const uint64_t last = disk.length() / sector_size - 1;
  const auto first_header = gpt_header(disk, 1, sector_size);
  const bool good = first_header && read_entries(disk, *first_header, sector_size, out);
  uint64_t second = last;
  if (first_header && first_header->other > 1 && first_header->other <= last)
    second = first_header->other;
  const auto second_header = gpt_header(disk, second, sector_size);
  if (good) {
    if (!second_header && !disk.cut())
      out.problems.push_back("the second copy of the GPT, at sector " + std::to_string(second) +
                             ", is missing or damaged");
    return true;
  }
  if (!second_header) return false;
  out.volumes.clear();
  if (!read_entries(disk, *second_header, sector_size, out)) return false;
  out.problems.insert(out.problems.begin(),
                      "the GPT at sector 1 is damaged; its second copy is whole");
  return true;
}

/// The GPT of the disk, whatever its sectors are. Nothing: it has none.
std::optional<bool> find_gpt(DiskBytes& disk, const Bytes& head, DiskStructure& out) {
  bool protective = false;
  if (head.le16(kSignatureAt) == kSignature)
    for (unsigned i = 0; i < 4; ++i) protective = protective || mbr_entry(head, i).type == 0xee;
  for (const uint64_t sector_size : {512, 4096}) {
    if (disk.length() < 3 * sector_size) continue;
    if (!head.has(sector_size, "EFI PART") && (!protective || sector_size != 512)) continue;
    if (read_gpt(disk, sector_size, out)) return true;
  }
  if (!protective && !head.has(512, "EFI PART")) return std::nullopt;
  return false;
}

/// What a BIOS loads, which is the first sector, and what that loads next.
void read_boot_code(DiskBytes& disk, const Bytes& head, DiskStructure& out) {
  if (head.le16(kSignatureAt) != kSignature || head.all_zero(0, kBootCode)) return;
  const Bytes code = head.part(0, kBootCode);
  if (code.contains("This is not a bootable disk")) return;  // mkfs.fat
  if (!code.contains("GRUB ")) {
    // Windows and others leave the code of an MBR on a disk with a GPT, where it finds nothing.
    const bool loads = out.table != "gpt" || out.has_type(kBiosBoot) ||
                       std::any_of(out.volumes.begin(), out.volumes.end(),
                                   [](const Volume& one) { return one.active; });
    if (loads) out.boot_code = "other";
    return;
  }
  out.boot_code = "grub";
  const uint64_t sector = head.le64(0x5c);
  const Bytes next = disk.read(product(sector, 512), 512);
  if (!disk.cut() && (next.size() != 512 || next.all_zero(0, 512)))
    out.boot_code_fault =
        "GRUB's boot sector loads sector " + std::to_string(sector) + ", which is empty";
}

}  // namespace

std::string guid_text(const Bytes& bytes, uint64_t offset) {
  static constexpr int kOrder[] = {3,  2, 1, 0,  -1, 5,  4,  -1, 7,  6,
                                   -1, 8, 9, -1, 10, 11, 12, 13, 14, 15};
  std::string out;
  for (const int index : kOrder)
    out += index < 0 ? "-" : hex_byte(bytes.at(offset + static_cast<uint64_t>(index)));
  return out;
}

void read_partitions(DiskBytes& disk, DiskStructure& out) {
  const Bytes head = disk.read(0, kHead);
  const auto gpt = find_gpt(disk, head, out);
  Volume whole;
  whole.length = disk.length();
  if (gpt) {
    out.table = "gpt";
    if (!*gpt) {
      out.volumes.clear();
      if (!disk.cut()) out.problems.push_back("both copies of the GPT are missing or damaged");
    }
  } else {
    identify(disk, whole);
    // A FAT or NTFS without partitions has bytes of its boot program where the table would be.
    const bool boot_sector = whole.kind == "vfat" || whole.kind == "ntfs" ||
                             whole.kind == "exfat" || whole.kind == "bitlocker" ||
                             whole.kind == "refs";
    if (!boot_sector && is_mbr(head))
      read_mbr(disk, head, out);
    else if (!whole.kind.empty())
      out.volumes.push_back(whole);
  }
  read_boot_code(disk, head, out);
}

}  // namespace hyperhost
