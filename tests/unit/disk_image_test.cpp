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
    ASSERT_EQ(image().open(nullptr, &op, file.raw(), "{}", guest.out()), HYPER_OK) << op.all();
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
  ASSERT_EQ(image().probe(nullptr, &op, file.raw(), keep, &said), HYPER_OK) << op.all();
  const nlohmann::json found = nlohmann::json::parse(said);
  EXPECT_EQ(found["format"], "qcow2");
  EXPECT_EQ(found["virtual_size"], 1 << 20);
}

}  // namespace
}  // namespace hyper::test
