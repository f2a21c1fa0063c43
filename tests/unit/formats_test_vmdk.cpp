// SPDX-License-Identifier: Apache-2.0
// What qemu-img does not write: VMware's footer layout, zeroed grains, damaged directories, ESX's
// extents, and descriptors of every kind.
#include "format/bytes.hpp"
#include "tests/support/formats_test_host.hpp"

namespace hyper::disk::test {
namespace {

constexpr uint64_t kSize = (3u << 20) + 512;

class Vmdk : public ::testing::Test {
 protected:
  void SetUp() override {
    HYPER_NEED_QEMU_IMG();
    raw_ = pattern(kSize, 11);
    save(dir_ / "raw", raw_);
  }
  std::vector<uint8_t> make(const std::string& subformat) {
    must("qemu-img convert -f raw -O vmdk -o subformat=" + subformat + " " +
         (dir_ / "raw").string() + " " + (dir_ / "d.vmdk").string());
    return load(dir_ / "d.vmdk");
  }
  static std::vector<uint8_t> disk_of(const std::vector<uint8_t>& file) {
    const auto source = open_bytes(file);
    return read_disk(*open_image(test_op(), *source, "vmdk"));
  }
  static Error refusal(const std::vector<uint8_t>& file) {
    return error_of([&] { disk_of(file); });
  }
  Error refused_descriptor(const std::string& text, uint32_t flags = kFileFlags) {
    std::ofstream(dir_ / "t.vmdk", std::ios::trunc) << "# Disk DescriptorFile\nversion=1\n" << text;
    const auto source = open_file(dir_ / "t.vmdk", flags);
    return error_of([&] { open_image(test_op(), *source, ""); });
  }
  TempDir dir_;
  std::vector<uint8_t> raw_;
};

// ESX and OVF exports: the directory's place stands only in the footer.
std::vector<uint8_t> with_footer(std::vector<uint8_t> file) {
  const std::vector<uint8_t> header(file.begin(), file.begin() + 512);
  file.resize(div_round_up(file.size(), 512) * 512);
  const uint64_t end = file.size();
  file.resize(end + 3 * 512);
  put_le(file, end, 1, 8);
  put_le(file, end + 12, 3, 4);
  std::copy(header.begin(), header.end(), file.begin() + static_cast<std::ptrdiff_t>(end) + 512);
  put_le(file, 56, UINT64_MAX, 8);
  return file;
}

TEST_F(Vmdk, FooterTakesPrecedence) {
  const auto file = with_footer(make("streamOptimized"));
  EXPECT_EQ(disk_of(file), raw_);
  auto cut = file;
  cut.resize(cut.size() - 512);
  EXPECT_EQ(refusal(cut).status(), HYPER_CORRUPT);
}

TEST_F(Vmdk, GrainMarkersMustAgree) {
  auto file = make("streamOptimized");
  const auto source = open_bytes(file);
  const auto image = open_image(test_op(), *source, "");
  const auto pieces = pieces_of(*image, 0, image->virtual_size());
  const auto unit = std::find_if(pieces.begin(), pieces.end(), [](const Mapped& p) {
    return p.codec == Codec::kZlib && p.guest_offset != 0;
  });
  ASSERT_NE(unit, pieces.end());
  auto other = file;
  put_le(other, unit->file_offset - 12, 8, 8);
  const Error wrong = refusal(other);
  EXPECT_EQ(wrong.status(), HYPER_CORRUPT);
  EXPECT_NE(std::string(wrong.what()).find(std::to_string(unit->file_offset - 12)),
            std::string::npos)
      << wrong.what();
  put_le(file, unit->file_offset - 4, 1u << 30, 4);
  EXPECT_EQ(refusal(file).status(), HYPER_CORRUPT);
}

TEST_F(Vmdk, ZeroedGrainsNeedTheirFlag) {
  const std::string path = (dir_ / "z.vmdk").string();
  must("qemu-img create -f vmdk -o zeroed_grain=on " + path + " 4M");
  must("qemu-io -f vmdk -c 'write -P 7 0 1M' -c 'write -z 128k 64k' " + path);
  auto file = load(path);
  const auto source = open_bytes(file);
  const auto image = open_image(test_op(), *source, "");
  const auto pieces = pieces_of(*image, 128u << 10, 64u << 10);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_TRUE(pieces[0].zero);
  EXPECT_FALSE(pieces[0].hole);
  put_le(file, 8, le32(&file[8]) & ~4u, 4);
  EXPECT_EQ(refusal(file).status(), HYPER_CORRUPT);
}

TEST_F(Vmdk, RedundantDirectoryHelpsOut) {
  auto file = make("monolithicSparse");
  auto lost = file;
  put_le(lost, 56, 1u << 30, 8);  // the directory's place
  EXPECT_EQ(disk_of(lost), raw_);
  const uint64_t directory = le64(&file[56]) * 512;
  put_le(file, directory, 0x7fffffff, 4);  // its first entry
  EXPECT_EQ(disk_of(file), raw_);
  put_le(file, 8, le32(&file[8]) & ~2u, 4);
  const Error error = refusal(file);
  EXPECT_EQ(error.status(), HYPER_CORRUPT);
  EXPECT_NE(std::string(error.what()).find("file offset " + std::to_string(directory)),
            std::string::npos)
      << error.what();
}

TEST_F(Vmdk, DeltaLinksAreRefused) {
  auto file = make("monolithicSparse");
  const std::string key = "parentCID=ffffffff";
  const auto at = std::search(file.begin(), file.end(), key.begin(), key.end());
  ASSERT_NE(at, file.end());
  *(at + 12) = '1';
  const Error error = refusal(file);
  EXPECT_EQ(error.status(), HYPER_UNSUPPORTED);
  EXPECT_NE(std::string(error.what()).find("delta link"), std::string::npos);
}

TEST_F(Vmdk, ExtentsOfManyKinds) {
  save(dir_ / "a.bin", raw_);
  const std::vector<uint8_t> sparse = make("monolithicSparse");
  const uint64_t sectors = kSize / 512;
  std::ofstream(dir_ / "m.vmdk")
      << "# Disk DescriptorFile\r\nversion = 1\r\nCID=1\r\nparentCID=ffffffff\r\n"
         "createType=\"custom\"\r\n\r\n  RDONLY 16 FLAT \"a.bin\" 4\r\nRW 8 ZERO\r\n"
         "NOACCESS 8 ZERO\r\nRW 0 FLAT \"gone.bin\" 0\r\nRW "
      << sectors << " SPARSE \"d.vmdk\"\r\nRW 4 FLAT \"a.bin\" 0\r\nddb.adapterType = \"ide\"\r\n";
  std::vector<uint8_t> expected(raw_.begin() + 4 * 512, raw_.begin() + 20 * 512);
  expected.resize(32 * 512);
  expected.insert(expected.end(), raw_.begin(), raw_.end());
  expected.insert(expected.end(), raw_.begin(), raw_.begin() + 4 * 512);
  const auto source = open_file(dir_ / "m.vmdk");
  const auto image = open_image(test_op(), *source, "");
  EXPECT_EQ(image->subformat(), "custom");
  EXPECT_EQ(read_disk(*image), expected);
}

TEST_F(Vmdk, EsxSparseExtents) {
  // 4096 entries a table, grains of one sector, 3 MiB: two tables.
  std::vector<uint8_t> file(4 * 512 + 2 * 16384);
  std::memcpy(file.data(), "COWD", 4);
  put_le(file, 4, 1, 4);
  put_le(file, 12, 6144, 4);
  put_le(file, 16, 1, 4);
  put_le(file, 20, 3, 4);
  put_le(file, 24, 2, 4);
  put_le(file, 3 * 512, 4, 4);
  put_le(file, 3 * 512 + 4, 4 + 32, 4);
  std::vector<uint8_t> expected(6144 * 512);
  for (const uint32_t grain : {0u, 5u, 6u, 4095u, 4096u, 6143u}) {
    put_le(file, 4 * 512 + grain * 4ull, file.size() / 512, 4);
    file.insert(file.end(), raw_.begin(), raw_.begin() + 512);
    std::copy(raw_.begin(), raw_.begin() + 512, expected.begin() + grain * 512);
  }
  save(dir_ / "esx-s.vmdk", file);
  std::ofstream(dir_ / "esx.vmdk") << "# Disk DescriptorFile\ncreateType=\"vmfsSparse\"\n"
                                      "RW 6144 VMFSSPARSE \"esx-s.vmdk\"\n";
  const auto source = open_file(dir_ / "esx.vmdk");
  EXPECT_EQ(read_disk(*open_image(test_op(), *source, "")), expected);
  EXPECT_EQ(refusal(file).status(), HYPER_UNSUPPORTED);  // without the descriptor
}

TEST_F(Vmdk, DescriptorsThatAreRefused) {
  save(dir_ / "a.bin", raw_);
  EXPECT_EQ(refused_descriptor("RW 8 FLAT \"a.bin\" 0\n").status(), HYPER_OK);
  const Error alone = refused_descriptor("RW 8 FLAT \"a.bin\" 0\n", HYPER_SOURCE_SEEK);
  EXPECT_EQ(alone.status(), HYPER_UNSUPPORTED);
  EXPECT_NE(std::string(alone.what()).find("a.bin"), std::string::npos);
  for (const char* name : {"/etc/passwd", "../a.bin", "..", "", "sub/a.bin", "\\\\.\\Drive0"})
    EXPECT_EQ(refused_descriptor("RW 8 FLAT \"" + std::string(name) + "\" 0\n").status(),
              HYPER_AUTH)
        << name;
  EXPECT_EQ(refused_descriptor("RW 8 FLAT \"none.bin\" 0\n").status(), HYPER_NOTFOUND);
  EXPECT_EQ(refused_descriptor("RW 8 SESPARSE \"a.bin\"\n").status(), HYPER_UNSUPPORTED);
  EXPECT_EQ(refused_descriptor("RW 8 VMFSRDM \"a.bin\"\n").status(), HYPER_UNSUPPORTED);
  EXPECT_EQ(refused_descriptor("NOACCESS 8 FLAT \"a.bin\" 0\n").status(), HYPER_UNSUPPORTED);
  EXPECT_EQ(refused_descriptor("RW 8 FLAT a.bin\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("RW 99999999999999999999 ZERO\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("RW 18014398509481983 ZERO\nRW 9 ZERO\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("RW 9999 FLAT \"a.bin\" 0\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("RW 8 FLAT \"a.bin\" 18014398509481983\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("createType=\"vmfs\"\n").status(), HYPER_CORRUPT);
  EXPECT_EQ(refused_descriptor("encryption.keySafe = \"x\"\nRW 8 ZERO\n").status(),
            HYPER_UNSUPPORTED);
}

TEST_F(Vmdk, ForeignReaderAgrees) {
  if (shell("vmdkinfo -V") != 0) GTEST_SKIP() << "vmdkinfo is missing";
  save(dir_ / "f.vmdk", with_footer(make("streamOptimized")));
  std::string output;
  EXPECT_EQ(shell("vmdkinfo " + (dir_ / "f.vmdk").string(), &output), 0) << output;
  EXPECT_NE(output.find(std::to_string(kSize)), std::string::npos) << output;
}

}  // namespace
}  // namespace hyper::disk::test
