// SPDX-License-Identifier: Apache-2.0
// The image reader: any format as guest-visible bytes and extents.
#include <gtest/gtest.h>

#include <thread>

#include "image_source.hpp"
#include "tests/support/convert_file.hpp"
#include "tests/support/disk_files.hpp"

namespace hyper::test {
namespace {

const hyper_image& image() {
  return *static_cast<const hyper_image*>(Image<disk::ImageReader>::table());
}

TEST(DiskImage, ReadsWhatTheGuestSeesFromManyThreads) {
  NEED_QEMU();
  const TestHost host;
  const Scratch dir;
  const uint64_t size = (12 << 20) + 512;
  make_disk(dir / "disk.raw", size, 5 << 20, 1);
  const std::string truth = slurp(dir / "disk.raw");
  for (const char* options :
       {"-O raw", "-O qcow2", "-c -O qcow2", "-c -O qcow2 -o compression_type=zstd",
        "-O qcow2 -o extended_l2=on,cluster_size=128k", "-O vmdk -o subformat=streamOptimized"}) {
    SCOPED_TRACE(options);
    ASSERT_TRUE(
        qemu(std::string("convert ") + options + " " + (dir / "disk.raw") + " " + (dir / "in")));
    SourceOptions plain;
    plain.flags = HYPER_SOURCE_SEEK;  // one call at a time: the reader has to see to it
    OwnedSource file, guest;
    export_source(std::make_unique<FileSource>(dir / "in", plain), file.out());
    hyper_op op;
    ASSERT_EQ(image().open(&op, 0, nullptr, file.raw(), nullptr, guest.out()), HYPER_OK)
        << op.all();
    ASSERT_EQ(guest.length(), size);
    ASSERT_GT(guest.max_parallel(), 1u);
    std::atomic<int> wrong{0};
    {
      std::vector<std::jthread> readers;
      for (unsigned t = 0; t < 4; ++t)
        readers.emplace_back([&, t] {
          std::mt19937_64 random(t);
          std::string bytes;
          for (int i = 0; i < 60; ++i) {
            const uint64_t offset = random() % size;
            bytes.assign(std::min<uint64_t>(size - offset, random() % 300000), '?');
            guest.read_at(Op(&op), offset, bytes.data(), bytes.size());
            if (truth.compare(offset, bytes.size(), bytes) != 0) ++wrong;
          }
        });
    }
    EXPECT_EQ(wrong, 0);
    uint64_t expected = 777;
    guest.extents(Op(&op), 777, size - 777, [&](const hyper_extent& extent) {
      EXPECT_EQ(extent.offset, expected);
      expected += extent.length;
      if ((extent.flags & HYPER_EXTENT_ZERO) == 0) return;
      EXPECT_EQ(truth.find_first_not_of('\0', extent.offset) < extent.offset + extent.length,
                false);
    });
    EXPECT_EQ(expected, size);
  }
}

void put_be(std::string& bytes, std::size_t at, uint64_t value, int width) {
  for (int i = 0; i < width; ++i)
    bytes[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (8 * (width - 1 - i)));
}

// 1 MiB that claims 4 TiB: one L2 table for all of L1, one cluster for all of the table.
TEST(DiskImage, OneClusterForAllOfTheDiskIsALieFoundEarly) {
  const TestHost host;
  const Scratch dir;
  std::string bytes(1 << 20, 'x');
  std::fill(bytes.begin(), bytes.begin() + (3 << 16), '\0');
  bytes.replace(0, 4, "QFI\xfb");
  put_be(bytes, 4, 3, 4);
  put_be(bytes, 20, 16, 4);
  put_be(bytes, 24, uint64_t{4} << 40, 8);
  put_be(bytes, 36, 8192, 4);
  put_be(bytes, 40, 1 << 16, 8);
  put_be(bytes, 96, 4, 4);
  put_be(bytes, 100, 104, 4);
  for (std::size_t i = 0; i < 8192; ++i) {
    put_be(bytes, (1 << 16) + i * 8, (1ull << 63) | (2 << 16), 8);
    put_be(bytes, (2 << 16) + i * 8, (1ull << 63) | (3 << 16), 8);
  }
  spew(dir / "lie", bytes);
  OwnedSource file, guest;
  export_source(std::make_unique<FileSource>(dir / "lie", SourceOptions{}), file.out());
  hyper_op op;
  ASSERT_EQ(image().open(&op, 0, nullptr, file.raw(), nullptr, guest.out()), HYPER_OK) << op.all();
  std::string block(1 << 20, '\0');
  const auto read = [&](uint64_t at) {
    return guest.raw()->read_at(guest.raw()->ctx, &op, 0, at, block.data(), block.size());
  };
  for (int i = 0; i < 100; ++i) ASSERT_EQ(read(0), HYPER_OK) << "again is not more";
  EXPECT_EQ(read(uint64_t{3} << 40), HYPER_CORRUPT);
  EXPECT_NE(op.all().find("tables lie"), std::string::npos) << op.all();
}

TEST(DiskImage, ProbeJudgesByContent) {
  NEED_QEMU();
  const TestHost host;
  const Scratch dir;
  make_disk(dir / "disk.raw", 1 << 20, 1 << 20, 2);
  ASSERT_TRUE(qemu("convert -O qcow2 " + (dir / "disk.raw") + " " + (dir / "name.vmdk")));
  OwnedSource file;
  export_source(std::make_unique<FileSource>(dir / "name.vmdk", SourceOptions{}), file.out());
  hyper_op op;
  std::string said;
  const hyper_emit keep = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
    static_cast<std::string*>(arg)->assign(json, len);
    return HYPER_OK;
  };
  ASSERT_EQ(image().probe(&op, 0, nullptr, file.raw(), keep, &said), HYPER_OK) << op.all();
  const nlohmann::json found = nlohmann::json::parse(said);
  EXPECT_EQ(found["format"], "qcow2");
  EXPECT_EQ(found["virtual_size"], 1 << 20);
}

}  // namespace
}  // namespace hyper::test
