// SPDX-License-Identifier: Apache-2.0
// Detection by content, and images that lie about their size: refused, or free of cost.
#include "format/bytes.hpp"
#include "tests/support/formats_test_host.hpp"

namespace hyper::disk::test {
namespace {

using Bytes = std::vector<uint8_t>;

std::string detect(const Bytes& file) {
  const auto source = open_bytes(file);
  return detect_format(test_op(), *source);
}

hyper_st status_of(const Bytes& file, const std::string& format, uint64_t length = 0) {
  const auto source = open_bytes(file, length);
  return error_of([&] {
           const auto image = open_image(test_op(), *source, format);
           pieces_of(*image, 0, image->virtual_size());
         })
      .status();
}

Bytes boot_disk() {
  Bytes disk = pattern(1u << 20, 5);
  disk[510] = 0x55, disk[511] = 0xaa;
  return disk;
}

void write_at(Bytes& bytes, std::size_t at, const std::string& text) {
  std::copy(text.begin(), text.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

TEST(Probe, RawIsWhatHasNoSignature) {
  EXPECT_EQ(detect(boot_disk()), "raw");
  EXPECT_EQ(detect(Bytes(512)), "raw");
  EXPECT_EQ(detect(Bytes(1)), "raw");
  EXPECT_EQ(detect(Bytes{'K', 'D', 'M', 'V'}), "raw");
  Bytes gpt = boot_disk();
  write_at(gpt, 512, "EFI PART");
  EXPECT_EQ(detect(gpt), "raw");
  Bytes text(100, ' ');
  write_at(text, 0, "# a script\necho version=1\n");
  EXPECT_EQ(detect(text), "raw");
}

TEST(Probe, SignaturesOnBootSectorsNeedASaneHeader) {
  for (const char* magic : {"QFI\xfb", "KDMV"}) {
    Bytes disk = boot_disk();
    write_at(disk, 0, magic);
    std::memset(&disk[4], 0x90, 40);
    EXPECT_EQ(detect(disk), "raw") << magic;
    disk[510] = 0;
    EXPECT_NE(detect(disk), "raw") << magic;
  }
  Bytes disk = boot_disk();
  write_at(disk, disk.size() - 512, "conectix");
  EXPECT_EQ(detect(disk), "raw");
}

TEST(Probe, Qcow2AndForeignFormats) {
  HYPER_NEED_QEMU_IMG();
  const TempDir dir;
  must("qemu-img create -f qcow2 " + (dir / "d").string() + " 3M");
  Bytes file = load(dir / "d");
  EXPECT_EQ(detect(file), "qcow2");
  const auto source = open_bytes(file);
  const ImageInfo info = probe_image(test_op(), *source);
  EXPECT_EQ(info.format, "qcow2");
  EXPECT_EQ(info.virtual_size, 3u << 20);
  put_be(file, 4, 1, 4);
  EXPECT_EQ(detect(file), "qcow");
  EXPECT_EQ(status_of(file, ""), HYPER_UNSUPPORTED);
  write_at(file, 0, std::string("QED\0", 4));
  EXPECT_EQ(status_of(file, ""), HYPER_UNSUPPORTED);
}

TEST(Probe, AskedForFormatsMustBeThere) {
  const Bytes disk = boot_disk();
  for (const char* format : {"vmdk", "qcow2", "vhd", "vpc", "vhdx", "vdi"})
    EXPECT_EQ(status_of(disk, format), HYPER_CONFIG) << format;
  EXPECT_EQ(status_of(disk, "raw"), HYPER_OK);
  EXPECT_EQ(status_of(disk, "floppy"), HYPER_UNSUPPORTED);
  Bytes vhdx(1u << 20);
  write_at(vhdx, 0, "vhdxfile");
  EXPECT_EQ(status_of(vhdx, "raw"), HYPER_OK);
  const auto source = open_bytes(vhdx);
  const Error error = error_of([&] { open_image(test_op(), *source, "vmdk"); });
  EXPECT_NE(std::string(error.what()).find("vhdx"), std::string::npos) << error.what();
}

TEST(Probe, SourcesMustSeek) {
  OwnedSource stream;
  stream.out()->flags = HYPER_SOURCE_STREAM;
  stream.out()->length = HYPER_LENGTH_UNKNOWN;
  EXPECT_EQ(error_of([&] { open_image(test_op(), stream, ""); }).status(), HYPER_UNSUPPORTED);
}

TEST(Probe, HugeClaimsCostNothing) {
  Bytes vmdk(1u << 20);
  write_at(vmdk, 0, "KDMV");
  put_le(vmdk, 4, 1, 4);
  put_le(vmdk, 20, 128, 8);
  put_le(vmdk, 44, 512, 4);
  put_le(vmdk, 56, 1, 8);
  for (const uint64_t sectors : {1ull << 54, (1ull << 54) - 1, 1ull << 40, ~0ull}) {
    put_le(vmdk, 12, sectors, 8);
    EXPECT_EQ(status_of(vmdk, ""), HYPER_CORRUPT) << sectors;
  }
  const std::string zeros = "# Disk DescriptorFile\nRW 18014398509481983 ZERO\n";
  const Bytes text(zeros.begin(), zeros.end());
  EXPECT_EQ(status_of(text, ""), HYPER_OK);

  Bytes vdi(1u << 20);
  put_le(vdi, 0x40, 0xbeda107f, 4);
  put_le(vdi, 0x44, 0x00010001, 4);
  put_le(vdi, 0x4c, 1, 4);
  put_le(vdi, 0x154, 512, 4);
  put_le(vdi, 0x158, 4096, 4);
  put_le(vdi, 0x168, 512, 4);
  put_le(vdi, 0x170, 1ull << 52, 8);
  put_le(vdi, 0x178, 1u << 20, 4);
  put_le(vdi, 0x180, 0xffffffff, 4);
  EXPECT_EQ(status_of(vdi, ""), HYPER_CORRUPT);
  put_le(vdi, 0x17c, 0xffffffff, 4);
  EXPECT_EQ(status_of(vdi, ""), HYPER_CORRUPT);

  Bytes vhd(1u << 20);
  write_at(vhd, 0, "conectix");
  put_be(vhd, 16, 512, 8);
  write_at(vhd, 28, "win ");
  put_be(vhd, 48, 1ull << 62, 8);
  put_be(vhd, 60, 3, 4);
  uint32_t sum = 0;
  for (int i = 0; i < 512; ++i) sum += vhd[static_cast<std::size_t>(i)];
  put_be(vhd, 64, ~sum, 4);
  EXPECT_EQ(status_of(vhd, ""), HYPER_CORRUPT);
}

}  // namespace
}  // namespace hyper::disk::test
