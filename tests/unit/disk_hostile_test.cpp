// SPDX-License-Identifier: Apache-2.0
// Images that are truncated, damaged or lie: a clear refusal, in little time and memory, and never
// a wrong image.
#include <gtest/gtest.h>

#include "tests/support/convert_file.hpp"
#include "tests/support/disk_files.hpp"

namespace hyper::test {
namespace {

class Hostile : public testing::Test {
 protected:
  Converted convert(const std::string& format, const std::string& name, bool stream = false,
                    const char* target = R"({"format":"raw"})") {
    SourceOptions options;
    if (stream) options.flags = HYPER_SOURCE_STREAM;
    options.format = format;
    return converter.run(dir / name, dir / "out", make_request(format, target), options);
  }
  TestHost host;
  Scratch dir;
  TestConverter converter{{.threads = 2}};
};

bool is_refusal(hyper_st status) {
  return status == HYPER_CORRUPT || status == HYPER_UNSUPPORTED || status == HYPER_CONFIG;
}

TEST_F(Hostile, EveryTruncatedStreamOptimizedDiskIsRefused) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", 4 << 20, 3 << 20, 1);
  ASSERT_TRUE(qemu("convert -O vmdk -o subformat=streamOptimized " + (dir / "disk.raw") + " " +
                   (dir / "qemu")));
  ASSERT_EQ(
      converter.run(dir / "disk.raw", dir / "own", make_request("raw", R"({"format":"vmdk"})"))
          .status,
      HYPER_OK);
  std::mt19937_64 random(1);
  for (const char* name : {"qemu", "own"}) {
    const std::string whole = slurp(dir / name);
    for (int i = 0; i < 40; ++i) {
      // Any length, the ends of sectors, and all but the last bytes.
      uint64_t length = random() % whole.size();
      if (i % 3 == 1) length = length / 512 * 512;
      if (i % 3 == 2) length = whole.size() - 1 - static_cast<uint64_t>(i) * 200;
      spew(dir / "cut", whole.substr(0, length));
      for (const bool stream : {false, true}) {
        const Converted done = convert("vmdk", "cut", stream);
        // qemu leaves zeros behind the last grain: without those, the disk is still whole.
        if (done.status == HYPER_OK && std::string(name) == "qemu" &&
            whole.find_first_not_of('\0', length) == std::string::npos) {
          EXPECT_TRUE(slurp(dir / "out") == slurp(dir / "disk.raw")) << "cut to " << length;
          continue;
        }
        EXPECT_TRUE(is_refusal(done.status))
            << name << (stream ? " as a stream" : "") << " cut to " << length << " of "
            << whole.size() << ", status " << done.status;
        EXPECT_FALSE(done.said.empty());
      }
    }
  }
}

TEST_F(Hostile, AFlippedBitIsRefusedOrHarmless) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", 3 << 20, 2 << 20, 2);
  const std::string truth = slurp(dir / "disk.raw");
  const std::pair<const char*, const char*> images[] = {
      {"vmdk", "-O vmdk -o subformat=streamOptimized"},
      {"qcow2", "-O qcow2"},
      {"qcow2", "-c -O qcow2"},
      {"qcow2", "-c -O qcow2 -o compression_type=zstd"},
  };
  std::mt19937_64 random(2);
  for (const auto& [format, options] : images) {
    ASSERT_TRUE(
        qemu(std::string("convert ") + options + " " + (dir / "disk.raw") + " " + (dir / "whole")));
    const std::string whole = slurp(dir / "whole");
    for (int i = 0; i < 60; ++i) {
      std::string bytes = whole;
      // Half of them in the headers and tables in front.
      const uint64_t at =
          random() % (i % 2 == 0 ? bytes.size() : std::min<uint64_t>(bytes.size(), 512));
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      spew(dir / "flipped", bytes);
      for (const bool stream : {false, true}) {
        if (stream && std::string(format) != "vmdk") continue;
        const Converted done = convert(format, "flipped", stream);
        if (done.status != HYPER_OK) {
          EXPECT_TRUE(is_refusal(done.status)) << done.status << done.said;
          EXPECT_FALSE(done.said.empty());
        } else if (std::string(format) == "vmdk" && at >= 65536) {
          // Each grain carries its checksum: what is accepted there is right.
          const std::string out = slurp(dir / "out");
          EXPECT_TRUE(out.substr(0, truth.size()) == truth) << "flipped at " << at;
        }
      }
    }
  }
}

TEST_F(Hostile, ADamagedGrainIsNamedByItsFileOffset) {
  make_disk(dir / "disk.raw", 1 << 20, 1 << 20, 3);
  ASSERT_EQ(converter.run(dir / "disk.raw", dir / "in", make_request("raw", R"({"format":"vmdk"})"))
                .status,
            HYPER_OK);
  std::string bytes = slurp(dir / "in");
  bytes[65536 + 40] = static_cast<char>(bytes[65536 + 40] ^ 1);  // in the first grain
  spew(dir / "in", bytes);
  for (const bool stream : {false, true}) {
    const Converted done = convert("vmdk", "in", stream);
    EXPECT_EQ(done.status, HYPER_CORRUPT);
    EXPECT_NE(done.said.find("file offset 65548"), std::string::npos) << done.said;
  }
}

void put_be(std::string& bytes, std::size_t at, uint64_t value, int width) {
  for (int i = 0; i < width; ++i)
    bytes[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (8 * (width - 1 - i)));
}

/// A qcow2 header with 2 MiB clusters, L1 at the second one.
std::string qcow2_header(uint64_t size, uint32_t l1_entries, std::size_t file) {
  std::string bytes(file, '\0');
  bytes.replace(0, 4, "QFI\xfb");
  put_be(bytes, 4, 3, 4);
  put_be(bytes, 20, 21, 4);
  put_be(bytes, 24, size, 8);
  put_be(bytes, 36, l1_entries, 4);
  put_be(bytes, 40, 2 << 20, 8);
  put_be(bytes, 96, 4, 4);
  put_be(bytes, 100, 104, 4);
  return bytes;
}

TEST_F(Hostile, AnImageThatClaimsExbibytesCostsNothing) {
  // 8 EiB that its L1 cannot hold; and as much as an L1 of the file's size can name, all empty.
  spew(dir / "lie", qcow2_header(INT64_MAX / 512 * 512, 1u << 30, 3 << 20));
  EXPECT_EQ(convert("qcow2", "lie").status, HYPER_CORRUPT);
  const uint64_t size = (uint64_t{1} << 39) * (1 << 17);  // 64 PiB: 2^17 entries in 1 MiB
  spew(dir / "empty", qcow2_header(size, 1 << 17, 3 << 20));
  const auto start = std::chrono::steady_clock::now();
  const Converted done =
      convert("qcow2", "empty", false, R"({"format":"qcow2","cluster_size":2097152})");
  ASSERT_EQ(done.status, HYPER_OK) << done.said;
  EXPECT_EQ(done.result["virtual_size"], size);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_LT(std::filesystem::file_size(dir / "out"), 64u << 20);
}

TEST_F(Hostile, TablesThatShareOneBlockAreALie) {
  // 256 entries of an L2 table, all the same cluster: 512 MiB out of 8 MiB.
  std::string bytes = qcow2_header(512u << 20, 1, 8 << 20);
  put_be(bytes, 2 << 20, (1ull << 63) | (4 << 20), 8);
  for (std::size_t i = 0; i < 256; ++i)
    put_be(bytes, (4 << 20) + i * 8, (1ull << 63) | (6 << 20), 8);
  std::fill(bytes.begin() + (6 << 20), bytes.end(), 'x');
  spew(dir / "bomb", bytes);
  const Converted done = convert("qcow2", "bomb");
  EXPECT_EQ(done.status, HYPER_CORRUPT) << done.said;
}

TEST_F(Hostile, DeltasAndOverlaysAreRefusedByName) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", 1 << 20, 1 << 20, 4);
  ASSERT_TRUE(qemu("create -f qcow2 -b " + (dir / "disk.raw") + " -F raw " + (dir / "overlay")));
  const Converted overlay = convert("qcow2", "overlay");
  EXPECT_EQ(overlay.status, HYPER_UNSUPPORTED);
  EXPECT_NE(overlay.said.find("disk.raw"), std::string::npos) << overlay.said;
  ASSERT_EQ(converter.run(dir / "disk.raw", dir / "in", make_request("raw", R"({"format":"vmdk"})"))
                .status,
            HYPER_OK);
  std::string bytes = slurp(dir / "in");
  bytes.replace(bytes.find("parentCID=ffffffff"), 18, "parentCID=12345678");
  spew(dir / "in", bytes);
  for (const bool stream : {false, true})
    EXPECT_EQ(convert("vmdk", "in", stream).status, HYPER_UNSUPPORTED);
}

TEST_F(Hostile, GrainsOutOfOrderInAStreamAreRefused) {
  make_disk(dir / "disk.raw", 4 << 20, 8 << 20, 5);
  ASSERT_EQ(converter.run(dir / "disk.raw", dir / "in", make_request("raw", R"({"format":"vmdk"})"))
                .status,
            HYPER_OK);
  std::string bytes = slurp(dir / "in");
  bytes[65536] = static_cast<char>(0x80);  // the first grain's sector: now the disk's last grain
  bytes[65537] = 0x1f;
  spew(dir / "in", bytes);
  const Converted done = convert("vmdk", "in", true);
  EXPECT_EQ(done.status, HYPER_CORRUPT) << done.said;
}

}  // namespace
}  // namespace hyper::test
