// SPDX-License-Identifier: Apache-2.0
#include "core/check/large_disk.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/base/diagnostic.hpp"
#include "core/os/fd.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kPiece = 64 * 1024;

/// The eight bytes at a multiple of eight: different at every place, and never zero.
uint64_t word_at(uint64_t offset) {
  uint64_t x = offset + 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return (x ^ (x >> 31)) | 1;
}

void data_bytes(uint64_t offset, uint64_t length, unsigned char* out) {
  for (uint64_t at = offset; at < offset + length;) {
    std::array<unsigned char, 8> bytes{};
    const uint64_t word = word_at(at / 8 * 8);
    std::memcpy(bytes.data(), &word, bytes.size());
    for (uint64_t i = at % 8; i < 8 && at < offset + length; ++i) *out++ = bytes[i], ++at;
  }
}

}  // namespace

const std::vector<std::pair<uint64_t, uint64_t>>& large_disk_data() {
  static const std::vector<std::pair<uint64_t, uint64_t>> all = [] {
    std::vector<std::pair<uint64_t, uint64_t>> made{{0, kPiece}};
    constexpr uint64_t k2 = uint64_t{1} << 31, k4 = uint64_t{1} << 32;
    // The odd places: no multiple of a MiB, and not those of a cluster.
    for (const uint64_t middle :
         {(uint64_t{60} << 20) + 12'288, (uint64_t{1} << 30) + 36'864, k2,
          k2 + (uint64_t{777} << 20) + 4096, k4, k4 + (uint64_t{333} << 20) + 20'480})
      made.emplace_back(middle - kPiece / 2, middle + kPiece / 2);
    made.emplace_back(kLargeDisk - kPiece - 512, kLargeDisk);
    return made;
  }();
  return all;
}

void large_disk_bytes(uint64_t offset, uint64_t length, unsigned char* out) {
  std::memset(out, 0, length);
  for (const auto& [begin, end] : large_disk_data()) {
    const uint64_t from = std::max(begin, offset), to = std::min(end, offset + length);
    if (from < to) data_bytes(from, to - from, out + (from - offset));
  }
}

bool is_large_disk(uint64_t length, const unsigned char* first) {
  std::array<unsigned char, 512> expected{};
  large_disk_bytes(0, expected.size(), expected.data());
  return length == kLargeDisk && std::memcmp(first, expected.data(), expected.size()) == 0;
}

void write_large_disk(const std::string& path) {
  const Fd file(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(kLargeDisk)) != 0)
    throw errno_error(errno, "write " + path);
  for (const auto& [begin, end] : large_disk_data()) {
    std::vector<unsigned char> bytes(end - begin);
    large_disk_bytes(begin, bytes.size(), bytes.data());
    if (::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(begin)) !=
        static_cast<ssize_t>(bytes.size()))
      throw errno_error(errno, "write " + path);
  }
}

}  // namespace hyperhost::check
