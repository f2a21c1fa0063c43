// SPDX-License-Identifier: Apache-2.0
// Damaged images, the same ones in every run: cut off anywhere, bits flipped, fields of tables and
// headers overwritten with numbers that like to overflow (checksums made right again). A parser
// may say so with an error, or read on where the damage is not; it may not crash, hang, lead out
// of the file, allocate by what a header says, or give other bytes than the disk's.
#include <chrono>
#include <new>

#include "format/bytes.hpp"
#include "format/vhdx_log.hpp"
#include "tests/support/formats_test_host.hpp"

namespace {
std::atomic<std::size_t> largest_allocation{0};
}

// Not inlined, or GCC takes the free() for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  std::size_t seen = largest_allocation.load();
  while (size > seen && !largest_allocation.compare_exchange_weak(seen, size)) {
  }
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace hyper::disk::test {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr std::size_t kMostAllocated = 5u << 20;  // a descriptor's text and some
constexpr uint64_t kMostRead = 8u << 20;          // of one damaged image

struct Base {
  const char* name;
  const char* options;
  const char* format;
  std::vector<uint64_t> fields;  // where headers and tables are
};

void sign_vhd(Bytes& file) {
  const auto sum_up = [&](uint64_t at, uint64_t length, uint64_t skip) {
    if (at + length > file.size()) return;
    put_be(file, at + skip, 0, 4);
    uint32_t sum = 0;
    for (uint64_t i = at; i < at + length; ++i) sum += file[i];
    put_be(file, at + skip, ~sum, 4);
  };
  sum_up(0, 512, 64);
  sum_up(512, 1024, 36);
  if (file.size() >= 512) sum_up(file.size() - 512, 512, 64);
}

void sign_vhdx(Bytes& file) {
  const std::pair<uint64_t, uint64_t> signed_parts[] = {
      {65536, 4096}, {131072, 4096}, {196608, 65536}, {262144, 65536}};
  for (const auto& [at, length] : signed_parts) {
    if (at + length > file.size()) return;
    put_le(file, at + 4, 0, 4);
    put_le(file, at + 4, crc32c(&file[at], length), 4);
  }
}

class Fuzz : public ::testing::TestWithParam<Base> {
 protected:
  void SetUp() override {
    HYPER_NEED_QEMU_IMG();
    raw_ = pattern((1u << 20) + 512, 99);
    save(dir_ / "raw", raw_);
    must("qemu-img convert -f raw " + std::string(GetParam().options) + " " +
         (dir_ / "raw").string() + " " + (dir_ / "d").string());
    file_ = load(dir_ / "d");
  }

  /// Opens and reads what a damaged image lets read. Is all of it the disk's?
  bool reads_right(const Bytes& file) {
    const auto source = open_bytes(file);
    bool right = true;
    const auto began = std::chrono::steady_clock::now();
    const Error error = error_of([&] {
      largest_allocation = 0;
      const auto image = open_image(test_op(), *source, GetParam().format);
      EXPECT_LE(largest_allocation, kMostAllocated);
      const uint64_t size = std::min<uint64_t>(image->virtual_size(), 64u << 20);
      uint64_t budget = kMostRead;
      for (const uint64_t from : {uint64_t{0}, image->virtual_size() - size})
        for (const Mapped& piece : pieces_of(*image, from, size)) {
          Mapped part = piece;
          part.length = std::min(piece.length, std::min<uint64_t>(budget, 1u << 20));
          if (part.length == 0) break;
          budget -= part.length;
          const Bytes bytes = bytes_of(part);
          Bytes expected(bytes.size());
          if (part.guest_offset < raw_.size())
            std::memcpy(expected.data(), &raw_[part.guest_offset],
                        std::min<uint64_t>(expected.size(), raw_.size() - part.guest_offset));
          right = right && bytes == expected;
        }
    });
    EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    const hyper_st status = error.status();
    EXPECT_TRUE(status == HYPER_OK || status == HYPER_CORRUPT || status == HYPER_UNSUPPORTED ||
                status == HYPER_CONFIG || status == HYPER_AUTH)
        << error.what();
    take_reports();
    return right;
  }

  void sign(Bytes& file) const {
    if (GetParam().format == std::string("vhd")) sign_vhd(file);
    if (GetParam().format == std::string("vhdx")) sign_vhdx(file);
  }
  uint64_t place(std::mt19937& random) const {
    const auto& fields = GetParam().fields;
    const uint64_t from = fields[random() % fields.size()];
    return std::min<uint64_t>(from + random() % 512, file_.size() - 8);
  }

  TempDir dir_;
  Bytes raw_, file_;
};

TEST_P(Fuzz, UndamagedIsRight) {
  EXPECT_TRUE(reads_right(file_));
}

TEST_P(Fuzz, CutOffAnywhere) {
  std::mt19937 random(1);
  for (int i = 0; i < 60; ++i) {
    Bytes cut = file_;
    cut.resize(i < 20 ? random() % std::min<std::size_t>(cut.size(), 4096) : random() % cut.size());
    EXPECT_TRUE(reads_right(cut)) << cut.size();
  }
}

TEST_P(Fuzz, FlippedBits) {
  std::mt19937 random(2);
  for (int i = 0; i < 150; ++i) {
    Bytes flipped = file_;
    for (uint64_t n = random() % 8 + 1; n != 0; --n) {
      const uint64_t at = random() % 2 == 0 ? place(random) : random() % flipped.size();
      flipped[at] = static_cast<uint8_t>(flipped[at] ^ (1u << random() % 8));
    }
    if (random() % 2 == 0) sign(flipped);
    reads_right(flipped);
  }
}

TEST_P(Fuzz, OverwrittenFields) {
  std::mt19937 random(3);
  const uint64_t numbers[] = {0,
                              1,
                              2,
                              511,
                              512,
                              0x7fffffff,
                              0x80000000,
                              0xfffffffe,
                              0xffffffff,
                              1ull << 32,
                              1ull << 54,
                              1ull << 62,
                              1ull << 63,
                              ~0ull,
                              ~0ull - 511,
                              file_.size(),
                              file_.size() / 512,
                              file_.size() - 1};
  for (int i = 0; i < 250; ++i) {
    Bytes changed = file_;
    for (uint64_t n = random() % 3 + 1; n != 0; --n) {
      const uint64_t number = numbers[random() % std::size(numbers)];
      const int width = random() % 2 == 0 ? 4 : 8;
      const uint64_t at = place(random) & ~uint64_t{3};
      if (random() % 2 == 0)
        put_le(changed, at, number, width);
      else
        put_be(changed, at, number, width);
    }
    sign(changed);
    reads_right(changed);
  }
}

class FuzzCompressed : public Fuzz {};

// The checksum of a grain's stream tells whatever happened to it.
TEST_P(FuzzCompressed, FlippedBitsAreNoticed) {
  std::mt19937 random(4);
  for (int i = 0; i < 150; ++i) {
    Bytes flipped = file_;
    const uint64_t data = 128 * kSector;
    const uint64_t at = data + random() % (flipped.size() - data);
    flipped[at] = static_cast<uint8_t>(flipped[at] ^ (1u << random() % 8));
    EXPECT_TRUE(reads_right(flipped)) << at;
  }
}

const Base kStream{"streamOptimized",
                   "-O vmdk -o subformat=streamOptimized",
                   "vmdk",
                   {0, 512, 21 * 512, 22 * 512, 26 * 512, 27 * 512, 65536}};

std::string name_of(const ::testing::TestParamInfo<Base>& base) {
  return base.param.name;
}

INSTANTIATE_TEST_SUITE_P(Formats, FuzzCompressed, ::testing::Values(kStream), name_of);
INSTANTIATE_TEST_SUITE_P(
    Formats, Fuzz,
    ::testing::Values(
        kStream,
        Base{"monolithicSparse", "-O vmdk", "vmdk", {0, 512, 21 * 512, 26 * 512, 27 * 512}},
        Base{"vhdDynamic", "-O vpc -o force_size=on", "vhd", {0, 512, 1024, 1536}},
        Base{"vhdFixed", "-O vpc -o subformat=fixed,force_size=on", "vhd", {(1u << 20) + 512}},
        Base{"vhdx",
             "-O vhdx -o block_size=1M,log_size=1M",
             "vhdx",
             {65536, 131072, 196608, 262144, 2u << 20, (2u << 20) + 65536, 3u << 20}},
        Base{"vdi", "-O vdi", "vdi", {0, 256, 512}}),
    name_of);

}  // namespace
}  // namespace hyper::disk::test
