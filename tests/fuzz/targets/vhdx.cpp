// SPDX-License-Identifier: Apache-2.0
// Headers, region tables and the entries of the log have checksums; they are computed again where
// the input asks for it.
#include <algorithm>
#include <vector>

#include "format/bytes.hpp"
#include "format/vhdx_log.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

namespace {

void checksum(fuzz::SparseFile& file, uint64_t at, uint64_t length) {
  if (at > file.length() || length > file.length() - at || length < 8) return;
  const uint8_t none[4] = {};
  file.write(at + 4, none, sizeof none);
  std::vector<uint8_t> bytes(length);
  file.read(at, bytes.data(), length);
  const uint32_t crc = hyper::disk::crc32c(bytes.data(), bytes.size());
  const uint8_t written[4] = {static_cast<uint8_t>(crc), static_cast<uint8_t>(crc >> 8),
                              static_cast<uint8_t>(crc >> 16), static_cast<uint8_t>(crc >> 24)};
  file.write(at + 4, written, sizeof written);
}

/// Entries of a log: "loge", checksum, length.
void sign_log(fuzz::SparseFile& file, uint64_t header) {
  if (header + 80 > file.length()) return;
  uint8_t fields[12];
  file.read(header + 68, fields, sizeof fields);
  const uint64_t length = std::min<uint64_t>(hyper::disk::le32(fields), 1u << 20),
                 from = hyper::disk::le64(fields + 4);
  if (from > file.length() || length > file.length() - from) return;
  for (uint64_t at = 0; at + 4096 <= length; at += 4096) {
    uint8_t entry[12];
    file.read(from + at, entry, sizeof entry);
    if (hyper::disk::le32(entry) != 0x65676f6c) continue;
    const uint64_t bytes = hyper::disk::le32(entry + 8);
    if (bytes <= length - at) checksum(file, from + at, bytes);
  }
}

void prepare(fuzz::SparseFile& file) {
  if (!file.wants_checksums()) return;
  sign_log(file, 64u << 10);
  sign_log(file, 128u << 10);
  checksum(file, 64u << 10, 4096);
  checksum(file, 128u << 10, 4096);
  checksum(file, 192u << 10, 64u << 10);
  checksum(file, 256u << 10, 64u << 10);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::read_image("vhdx", data, size, &prepare);
  return 0;
}
