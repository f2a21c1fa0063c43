// SPDX-License-Identifier: Apache-2.0
// The parts of read_structure(): the table of partitions, and what one of them holds. Stateless.
#pragma once

#include "core/structures/disk_structure.hpp"

namespace hyperhost {

/// Everything but ZFS and superblocks at the end of a volume shows itself in so many bytes.
inline constexpr uint64_t kHead = (64 + 8) << 10;

/// Fills the table, the boot code and the volumes, without what they hold.
void read_partitions(DiskBytes& disk, DiskStructure& out);

/// The kind of a volume, and its state.
void identify(DiskBytes& disk, Volume& volume);

// Each looks at one kind of volume, which identify() has found, and fills its state.
void read_fat(DiskBytes& disk, Volume& volume);
void read_ntfs(DiskBytes& disk, Volume& volume, const Bytes& head);
void read_luks2(DiskBytes& disk, Volume& volume, const Bytes& head);
void read_bitlocker(DiskBytes& disk, Volume& volume, const Bytes& head);

/// Of the volume, from its own beginning, and never beyond its end.
Bytes read_in(DiskBytes& disk, const Volume& volume, uint64_t offset, uint64_t length);

/// "C12A7328-F81F-…" of the 16 bytes.
std::string guid_text(const Bytes& bytes, uint64_t offset);

/// a + b, or UINT64_MAX.
inline uint64_t sum(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
/// a · b, or UINT64_MAX.
inline uint64_t product(uint64_t a, uint64_t b) {
  return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

}  // namespace hyperhost
