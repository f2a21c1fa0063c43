// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

namespace {

/// The one's complement of the sum of all bytes, big endian, where the field itself counts as zero.
void sum_up(fuzz::SparseFile& file, uint64_t at, uint64_t length, uint64_t field) {
  if (at > file.length() || length > file.length() - at) return;
  const uint8_t none[4] = {};
  file.write(at + field, none, sizeof none);
  uint8_t bytes[1024];
  file.read(at, bytes, length);
  uint32_t sum = 0;
  for (uint64_t i = 0; i < length; ++i) sum += bytes[i];
  sum = ~sum;
  const uint8_t written[4] = {static_cast<uint8_t>(sum >> 24), static_cast<uint8_t>(sum >> 16),
                              static_cast<uint8_t>(sum >> 8), static_cast<uint8_t>(sum)};
  file.write(at + field, written, sizeof written);
}

uint64_t big_endian(const uint8_t* bytes, int width) {
  uint64_t value = 0;
  for (int i = 0; i < width; ++i) value = value << 8 | bytes[i];
  return value;
}

/// Marks every sector of every block as written. To us a sector whose bit is clear is zero, as the
/// specification says; QEMU does not look at the bits.
void fill_bitmaps(fuzz::SparseFile& file) {
  if (file.length() < 2048) return;
  uint8_t header[1024];
  file.read(512, header, sizeof header);
  const uint64_t table = big_endian(header + 16, 8), entries = big_endian(header + 28, 4);
  const uint64_t bitmap = (big_endian(header + 32, 4) / 512 / 8 + 511) / 512 * 512;
  const std::vector<uint8_t> ones(std::min<uint64_t>(bitmap, 64u << 10), 0xff);
  for (uint64_t i = 0; i < std::min<uint64_t>(entries, 64); ++i) {
    uint8_t entry[4];
    if (table > file.length() || file.length() - table < (i + 1) * 4) return;
    file.read(table + i * 4, entry, sizeof entry);
    const uint64_t at = big_endian(entry, 4) * 512;
    if (at >= 2048 && at < file.length() && ones.size() <= file.length() - at)
      file.write(at, ones.data(), ones.size());
  }
}

void prepare(fuzz::SparseFile& file) {
  if (fuzz::qemu_img() != nullptr) fill_bitmaps(file);
  if (!file.wants_checksums()) return;
  sum_up(file, 0, 512, 64);
  sum_up(file, 512, 1024, 36);
  if (file.length() >= 512) sum_up(file, file.length() - 512, 512, 64);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::read_image("vhd", data, size, &prepare);
  return 0;
}
