// SPDX-License-Identifier: Apache-2.0
// Images written by qemu-img, in every variant the parsers read, against their raw source and
// against what qemu-img itself reads out of them.
#include <thread>

#include "tests/support/formats_test_host.hpp"

namespace hyper::disk::test {
namespace {

struct Variant {
  const char* name;
  const char* options;  // of qemu-img convert
  const char* format;
  const char* subformat;
};

constexpr Variant kVariants[] = {
    {"monolithicSparse", "-O vmdk", "vmdk", "monolithicSparse"},
    {"streamOptimized", "-O vmdk -o subformat=streamOptimized", "vmdk", "streamOptimized"},
    {"monolithicFlat", "-O vmdk -o subformat=monolithicFlat", "vmdk", "monolithicFlat"},
    {"twoGbSparse", "-O vmdk -o subformat=twoGbMaxExtentSparse", "vmdk", "twoGbMaxExtentSparse"},
    {"twoGbFlat", "-O vmdk -o subformat=twoGbMaxExtentFlat", "vmdk", "twoGbMaxExtentFlat"},
    {"vhdDynamic", "-O vpc", "vhd", "dynamic"},
    {"vhdDynamicExact", "-O vpc -o force_size=on", "vhd", "dynamic"},
    {"vhdFixed", "-O vpc -o subformat=fixed", "vhd", "fixed"},
    {"vhdFixedExact", "-O vpc -o subformat=fixed,force_size=on", "vhd", "fixed"},
    {"vhdxDynamic", "-O vhdx", "vhdx", "dynamic"},
    {"vhdxSmallBlocks", "-O vhdx -o block_size=1M", "vhdx", "dynamic"},
    {"vhdxFixed", "-O vhdx -o subformat=fixed", "vhdx", "fixed"},
    {"vdiDynamic", "-O vdi", "vdi", "dynamic"},
    {"vdiStatic", "-O vdi -o static=on", "vdi", "static"},
};

class QemuImages : public ::testing::TestWithParam<Variant> {
 protected:
  std::filesystem::path convert(const std::filesystem::path& raw) {
    const auto image = dir_ / "image";
    must("qemu-img convert -f raw " + std::string(GetParam().options) + " " + raw.string() + " " +
         image.string());
    return image;
  }
  std::string qemu_format() const {
    return GetParam().format == std::string("vhd") ? "vpc" : GetParam().format;
  }
  TempDir dir_;
};

TEST_P(QemuImages, ReadAsTheirSource) {
  HYPER_NEED_QEMU_IMG();
  const uint64_t sizes[] = {512, 65536, 3 * 65536 + 512, (3u << 20) + 1536, (34u << 20) + 1024};
  uint32_t seed = 1;
  for (const uint64_t size : sizes) {
    SCOPED_TRACE(size);
    const std::vector<uint8_t> raw = pattern(size, seed++);
    save(dir_ / "raw", raw);
    const auto path = convert(dir_ / "raw");
    must("qemu-img convert -f " + qemu_format() + " -O raw " + path.string() + " " +
         (dir_ / "back").string());
    const std::vector<uint8_t> back = load(dir_ / "back");

    const auto source = open_file(path);
    const auto image = open_image(test_op(), *source, "");
    EXPECT_EQ(image->format(), GetParam().format);
    EXPECT_EQ(image->subformat(), GetParam().subformat);
    ASSERT_EQ(image->virtual_size(), back.size());  // as QEMU sees it, e.g. rounded to cylinders
    const std::vector<uint8_t> disk = read_disk(*image);
    ASSERT_EQ(disk.size(), back.size());
    ASSERT_EQ(std::memcmp(disk.data(), back.data(), disk.size()), 0);
    ASSERT_EQ(std::memcmp(disk.data(), raw.data(), raw.size()), 0);

    std::mt19937 random(seed);
    for (int i = 0; i < 20; ++i) {  // any range, at any byte
      const uint64_t offset = random() % disk.size();
      const uint64_t length = 1 + random() % std::min<uint64_t>(disk.size() - offset, 100000);
      uint64_t at = offset;
      for (const Mapped& piece : pieces_of(*image, offset, length)) {
        const std::vector<uint8_t> bytes = bytes_of(piece);
        ASSERT_EQ(std::memcmp(bytes.data(), &disk[at], bytes.size()), 0) << at;
        at += piece.length;
      }
    }
    EXPECT_TRUE(pieces_of(*image, disk.size(), 0).empty());
    EXPECT_EQ(error_of([&] { pieces_of(*image, disk.size(), 1); }).status(), HYPER_FAIL);
  }
  EXPECT_TRUE(take_reports().empty());
}

class HugeImages : public QemuImages {};

TEST_P(QemuImages, AllZeroDisksHaveHardlyData) {
  HYPER_NEED_QEMU_IMG();
  must("truncate -s 100M " + (dir_ / "raw").string());
  const auto source = open_file(convert(dir_ / "raw"));
  const auto image = open_image(test_op(), *source, "");
  EXPECT_GE(image->virtual_size(), 100u << 20);
  uint64_t data = 0;  // a flat file's first block may be allocated
  for (const Mapped& piece : pieces_of(*image, 0, image->virtual_size()))
    data += piece.zero ? 0 : piece.length;
  EXPECT_LE(data, 4096u);
}

// Cheap in spite of the size: a few islands in 2 TB, metadata of tens of thousands of tables.
TEST_P(HugeImages, OfFewData) {
  HYPER_NEED_QEMU_IMG();
  const uint64_t size = 2000ull << 30;  // VHD ends at 2040 GiB
  const std::vector<uint8_t> island = pattern(200000, 7);
  const uint64_t places[] = {0, (700ull << 30) + 4096, size - 262144};
  const auto raw = dir_ / "raw";
  {
    std::ofstream out(raw, std::ios::binary);
    for (const uint64_t at : places) {
      out.seekp(static_cast<std::streamoff>(at));
      out.write(reinterpret_cast<const char*>(island.data()),
                static_cast<std::streamsize>(island.size()));
    }
  }
  std::filesystem::resize_file(raw, size);
  const auto source = open_file(convert(raw));
  const auto image = open_image(test_op(), *source, "");
  ASSERT_GE(image->virtual_size(), size);
  uint64_t data = 0;
  for (const Mapped& piece : pieces_of(*image, 0, image->virtual_size()))
    if (!piece.zero) data += piece.length;
  EXPECT_LE(data, 16u << 20);
  EXPECT_GE(data, 400000u);
  for (const uint64_t at : places) {
    std::vector<uint8_t> bytes;
    for (const Mapped& piece : pieces_of(*image, at, island.size())) {
      const auto part = bytes_of(piece);
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    EXPECT_EQ(bytes, island) << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, QemuImages, ::testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

// Those that do not allocate the disk whole.
INSTANTIATE_TEST_SUITE_P(Formats, HugeImages,
                         ::testing::Values(kVariants[0], kVariants[1], kVariants[5], kVariants[6],
                                           kVariants[9], kVariants[10], kVariants[12]),
                         [](const auto& variant) { return std::string(variant.param.name); });

TEST(Formats, HolesOfFlatFilesAreHoles) {
  const TempDir dir;
  const auto island = pattern(1u << 20, 3);
  {
    std::ofstream out(dir / "d-flat.vmdk", std::ios::binary);
    out.seekp(64 << 20);
    out.write(reinterpret_cast<const char*>(island.data()), 1 << 20);
  }
  std::filesystem::resize_file(dir / "d-flat.vmdk", 256u << 20);
  std::ofstream(dir / "d.vmdk") << "# Disk DescriptorFile\nversion=1\ncreateType=\"vmfs\"\n"
                                   "RW 524288 VMFS \"d-flat.vmdk\"\n";
  const auto source = open_file(dir / "d.vmdk");
  const auto image = open_image(test_op(), *source, "vmdk");
  EXPECT_EQ(image->subformat(), "vmfs");
  const auto pieces = pieces_of(*image, 0, 256u << 20);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_TRUE(pieces[0].hole && pieces[2].hole);
  EXPECT_EQ(pieces[1].file_offset, 64u << 20);
  EXPECT_EQ(bytes_of(pieces[1]), island);
}

TEST(Formats, MapsServeManyThreads) {
  HYPER_NEED_QEMU_IMG();
  const TempDir dir;
  const auto raw = pattern(3u << 20, 17);
  save(dir / "raw", raw);
  for (const char* options : {"vmdk -o subformat=streamOptimized", "vpc -o force_size=on",
                              "vhdx -o block_size=1M", "vdi"}) {
    must("qemu-img convert -f raw -O " + std::string(options) + " " + (dir / "raw").string() + " " +
         (dir / "d").string());
    const auto source = open_file(dir / "d", HYPER_SOURCE_SEEK);
    const auto image = open_image(test_op(), *source, "");
    std::atomic<int> right{0};
    std::vector<std::jthread> threads;
    for (uint64_t n = 0; n < 4; ++n)
      threads.emplace_back([&, n] {
        for (uint64_t at = n * 65536; at < raw.size(); at += 4 * 65536)
          for (const Mapped& piece : pieces_of(*image, at, 65536))
            if (std::memcmp(bytes_of(piece).data(), &raw[piece.guest_offset], piece.length) != 0)
              return;
        ++right;
      });
    threads.clear();
    EXPECT_EQ(right, 4) << options;
  }
}

TEST(Formats, CancelEndsAMap) {
  HYPER_NEED_QEMU_IMG();
  const TempDir dir;
  must("qemu-img create -f vhdx " + (dir / "d").string() + " 1T");
  const auto source = open_file(dir / "d");
  const auto image = open_image(test_op(), *source, "");
  cancel_flag() = true;
  EXPECT_EQ(error_of([&] { pieces_of(*image, 0, image->virtual_size()); }).status(),
            HYPER_CANCELLED);
  cancel_flag() = false;
}

}  // namespace
}  // namespace hyper::disk::test
