// SPDX-License-Identifier: Apache-2.0
// A guest's disk, read for its partitions, file systems and encryption. With the flag of image.hpp
// the checksums of its GPT are right whatever the input has changed behind them.
#include "core/structures/disk_structure.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

namespace {

constexpr uint64_t kSector = 512, kBudget = 4u << 20;

uint32_t crc32(const std::vector<uint8_t>& bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

uint64_t little(const uint8_t* bytes, int width) {
  uint64_t value = 0;
  for (int i = width; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

void write32(fuzz::SparseFile& file, uint64_t at, uint32_t value) {
  const uint8_t bytes[4] = {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8),
                            static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 24)};
  file.write(at, bytes, sizeof bytes);
}

/// Makes a header of a GPT right: its own checksum, and that of its entries.
void sum_up(fuzz::SparseFile& file, uint64_t at) {
  std::vector<uint8_t> header(kSector);
  file.read(at, header.data(), kSector);
  if (!std::equal(header.begin(), header.begin() + 8, "EFI PART")) return;
  const uint64_t entries = little(&header[72], 8) % (file.length() / kSector) * kSector;
  const uint64_t length = little(&header[80], 4) * little(&header[84], 4);
  if (length <= std::min<uint64_t>(1 << 20, file.length() - entries)) {
    std::vector<uint8_t> bytes(length);
    file.read(entries, bytes.data(), length);
    write32(file, at + 88, crc32(bytes));
    file.read(at, header.data(), kSector);
  }
  const uint64_t size = std::clamp<uint64_t>(little(&header[12], 4), 92, kSector);
  std::fill_n(header.begin() + 16, 4, uint8_t{0});
  header.resize(size);
  write32(file, at + 16, crc32(header));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::SparseFile file(data, size);
  if (file.wants_checksums() && file.length() >= 3 * kSector) {
    sum_up(file, kSector);
    sum_up(file, file.length() - kSector);
  }
  hyperhost::DiskBytes disk(
      [&](uint64_t offset, void* buffer, uint64_t length) {
        if (offset > file.length() || length > file.length() - offset)
          fuzz::fail("it reads beyond the end of the disk");
        file.read(offset, buffer, length);
      },
      file.length(), kBudget);
  const hyperhost::DiskStructure seen = hyperhost::read_structure(disk);
  if (seen.bytes_read > kBudget) fuzz::fail("it reads more than its budget");
  for (const hyperhost::Volume& volume : seen.volumes)
    if (volume.offset > file.length() || volume.length > file.length() - volume.offset)
      fuzz::fail("a volume lies beyond the end of the disk");
  // What is printed of it is UTF-8.
  static_cast<void>(hyperhost::structure_json(seen).dump());
  return 0;
}
