// SPDX-License-Identifier: Apache-2.0
// Integers out of the byte order a format is written in, and bit tricks its parsers share.
// Nothing here reads beyond the bytes its name says.
#pragma once

#include <cstdint>
#include <cstring>

namespace hyper::disk {

constexpr uint64_t kSector = 512;

inline uint16_t le16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | (p[1] << 8));
}
inline uint32_t le32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 |
         static_cast<uint32_t>(p[2]) << 16 | static_cast<uint32_t>(p[3]) << 24;
}
inline uint64_t le64(const uint8_t* p) {
  return le32(p) | static_cast<uint64_t>(le32(p + 4)) << 32;
}
inline uint16_t be16(const uint8_t* p) {
  return static_cast<uint16_t>((p[0] << 8) | p[1]);
}
inline uint32_t be32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) << 24 | static_cast<uint32_t>(p[1]) << 16 |
         static_cast<uint32_t>(p[2]) << 8 | static_cast<uint32_t>(p[3]);
}
inline uint64_t be64(const uint8_t* p) {
  return static_cast<uint64_t>(be32(p)) << 32 | be32(p + 4);
}

constexpr bool is_power_of_two(uint64_t n) {
  return n != 0 && (n & (n - 1)) == 0;
}
constexpr uint64_t div_round_up(uint64_t n, uint64_t by) {
  return n / by + (n % by != 0);
}

/// Ends the first sector like an MBR's? Where image formats have padding, and raw disks do.
inline bool is_boot_sector(const uint8_t* bytes, uint64_t length) {
  return length >= kSector && le16(bytes + 510) == 0xaa55;
}

}  // namespace hyper::disk
