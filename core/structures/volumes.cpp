// SPDX-License-Identifier: Apache-2.0
// The kinds of volumes by their superblocks, and the state that a superblock has.
#include <algorithm>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

using namespace std::string_view_literals;

constexpr uint32_t kRaidMagic = 0xa92b4efc;

struct Magic {
  uint64_t offset;
  std::string_view bytes;
  const char* kind;
};

/// In the order in which they are looked for: what encrypts or contains comes first.
constexpr Magic kMagics[] = {
    {0, "LUKS\xba\xbe\0\1"sv, "luks1"},
    {0, "LUKS\xba\xbe\0\2"sv, "luks2"},
    {3, "-FVE-FS-"sv, "bitlocker"},
    {3, "NTFS    "sv, "ntfs"},
    {3, "EXFAT   "sv, "exfat"},
    {3, "ReFS\0\0\0\0"sv, "refs"},
    {0, "XFSB"sv, "xfs"},
    {32, "NXSB"sv, "apfs"},
    {1024, "H+\0\4"sv, "hfsplus"},
    {1024, "HX\0\5"sv, "hfsplus"},
    {1024, "\x10\x20\xf5\xf2"sv, "f2fs"},
    {4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"sv, "bcachefs"},
    {4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"sv, "bcachefs"},
    {65536 + 64, "_BHRfS_M"sv, "btrfs"},
    {32769, "CD001"sv, "iso9660"},
};

bool is_lvm(const Bytes& head) {
  for (uint64_t sector = 0; sector < 4; ++sector)
    if (head.has(sector * 512, "LABELONE") && head.has(sector * 512 + 24, "LVM2 001")) return true;
  return false;
}

/// At the end of the volume: 1.0 in the last 8 KiB, 0.90 in the last whole 64 KiB.
bool has_raid_at_end(DiskBytes& disk, const Volume& volume) {
  if (volume.length < 128 << 10) return false;
  const uint64_t new_form = (volume.length / 512 * 512 - 8192) / 4096 * 4096;
  const uint64_t old_form = volume.length / 65536 * 65536 - 65536;
  return read_in(disk, volume, new_form, 512).le32(0) == kRaidMagic ||
         read_in(disk, volume, old_form, 512).le32(0) == kRaidMagic;
}

void read_ext(Volume& volume, const Bytes& head) {
  const uint32_t compatible = head.le32(1024 + 92), incompatible = head.le32(1024 + 96);
  constexpr uint32_t kJournal = 4, kRecover = 4, kJournalDevice = 8, kExtents = 0x40;
  if ((incompatible & kJournalDevice) != 0)
    volume.kind = "jbd";
  else
    volume.kind = (incompatible & (kExtents | 0x80 | 0x200)) != 0 ? "ext4"
                  : (compatible & kJournal) != 0                  ? "ext3"
                                                                  : "ext2";
  const uint16_t state = head.le16(1024 + 58);
  if ((incompatible & kRecover) != 0) {
    volume.dirty = true;
    volume.state_at = volume.offset + 1024 + 96;
    volume.state = "needs_recovery";
  } else if ((state & 1) == 0 || (state & 2) != 0) {
    volume.dirty = true;
    volume.state_at = volume.offset + 1024 + 58;
    volume.state = (state & 2) != 0 ? "errors were found in it" : "not unmounted";
  }
}

void read_xfs(Volume& volume, const Bytes& head) {
  const uint64_t version = head.big(100, 2) & 0xf;
  if (version == 5) return;
  volume.kind = "xfs-v" + std::to_string(version);
  volume.state_at = volume.offset + 100;
}

/// The end of the first page: the signature of a swap area, or of what was suspended to it.
bool read_swap(Volume& volume, const Bytes& head) {
  for (const uint64_t page : {uint64_t{4096}, uint64_t{8192}, uint64_t{16384}, uint64_t{65536}}) {
    const uint64_t at = page - 10;
    if (head.has(at, "SWAPSPACE2") || head.has(at, "SWAP-SPACE")) {
      volume.kind = "swap";
      return true;
    }
    for (const std::string_view saved : {"S1SUSPEND"sv, "S2SUSPEND"sv, "ULSUSPEND"sv,
                                         "LINHIB0001"sv, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"sv}) {
      if (!head.has(at, saved)) continue;
      volume.kind = "swap";
      volume.hibernated = true;
      volume.state_at = volume.offset + at;
      volume.state = saved[0] == '\xed' ? "TuxOnIce" : std::string(saved);
      return true;
    }
  }
  return false;
}

/// The boot sector of a FAT has no magic of its own: all of it has to make sense.
bool is_fat(const Bytes& head) {
  const uint16_t sector = head.le16(11);
  const uint8_t cluster = head.at(13), tables = head.at(16);
  return head.le16(510) == 0xaa55 && (head.at(0) == 0xeb || head.at(0) == 0xe9) && sector >= 512 &&
         sector <= 4096 && (sector & (sector - 1)) == 0 && cluster != 0 &&
         (cluster & (cluster - 1)) == 0 && tables >= 1 && tables <= 4 && head.le16(14) != 0 &&
         (head.has(82, "FAT32") || head.has(54, "FAT"));
}

/// The label of a pool: packed names and values behind two empty areas.
bool is_zfs(const Bytes& head) {
  return head.has(16384, "\1\1\0\0"sv) && head.has(16384 + 20, "\0\0\0\7version"sv);
}

}  // namespace

Bytes read_in(DiskBytes& disk, const Volume& volume, uint64_t offset, uint64_t length) {
  if (offset >= volume.length) return {};
  return disk.read(sum(volume.offset, offset), std::min(length, volume.length - offset));
}

void identify(DiskBytes& disk, Volume& volume) {
  const Bytes head = read_in(disk, volume, 0, kHead);
  for (const Magic& magic : kMagics)
    if (head.has(magic.offset, magic.bytes)) {
      volume.kind = magic.kind;
      break;
    }
  if (volume.kind == "luks1") volume.seal = Seal::kKey;
  if (volume.kind == "luks2") read_luks2(disk, volume, head);
  if (volume.kind == "bitlocker") read_bitlocker(disk, volume, head);
  if (volume.kind == "ntfs") read_ntfs(disk, volume, head);
  if (volume.kind == "xfs") read_xfs(volume, head);
  if (!volume.kind.empty()) return;
  const bool raid = volume.type == "FD" || volume.type == kLinuxRaid;
  if (is_lvm(head)) {
    volume.kind = "lvm";
  } else if (head.le32(0) == kRaidMagic || head.le32(4096) == kRaidMagic ||
             (raid && has_raid_at_end(disk, volume))) {
    volume.kind = "raid";
  } else if (head.le16(1024 + 56) == 0xef53) {
    read_ext(volume, head);
  } else if (is_zfs(head)) {
    volume.kind = "zfs";
  } else if (is_fat(head)) {
    volume.kind = "vfat";
    read_fat(disk, volume);
  } else {
    read_swap(volume, head);
  }
}

}  // namespace hyperhost
