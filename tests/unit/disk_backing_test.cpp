// SPDX-License-Identifier: Apache-2.0
// qcow2 overlays: read through their backing files where that is allowed, and what is refused.
#include <gtest/gtest.h>

#include "image_source.hpp"
#include "tests/support/convert_file.hpp"
#include "tests/support/disk_files.hpp"

namespace hyper::test {
namespace {

SourceOptions seen() {
  SourceOptions options;
  options.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_FILE | HYPER_SOURCE_SIBLING;
  return options;
}

class Backing : public testing::Test {
 protected:
  Converted convert(const std::string& name, const char* target = R"({"format":"raw"})",
                    TestConverter* with = nullptr) {
    return (with ? *with : allowing)
        .run(dir / name, dir / "out", make_request("qcow2", target, true), seen());
  }
  bool in_dir(const std::string& command) { return run("cd '" + (dir / ".") + "' && " + command); }
  void expect_refused(const std::string& name, hyper_st status, const std::string& word) {
    const Converted done = convert(name);
    EXPECT_EQ(done.status, status) << name << ": " << done.said;
    EXPECT_NE(done.said.find(word), std::string::npos) << name << ": " << done.said;
  }
  /// An overlay with this name in its header, whatever there is.
  bool overlay(const std::string& name, const std::string& below, const std::string& format) {
    return in_dir("qemu-img create -u -f qcow2 -b '" + below + "' " +
                  (format.empty() ? "" : "-F " + format) + " " + name + " 1M");
  }
  TestHost host;
  Scratch dir;
  TestConverter allowing{{.threads = 2, .allow_backing = true}};
  TestConverter plain{{.threads = 2}};
};

TEST_F(Backing, AChainOfThreeReadsAsQemuReadsIt) {
  NEED_QEMU();
  struct Case {
    const char *base, *mid, *top;
  };
  // Compressed clusters below smaller ones, so that only parts of them are seen; subclusters; raw.
  for (const Case& one :
       {Case{"-c -O qcow2 -o cluster_size=64k", "cluster_size=64k", "cluster_size=64k"},
        Case{"-c -O qcow2 -o cluster_size=2M", "cluster_size=64k", "cluster_size=4k"},
        Case{"-c -O qcow2 -o cluster_size=1M,compression_type=zstd", "cluster_size=512",
             "extended_l2=on,cluster_size=128k"},
        Case{"-c -O qcow2 -o cluster_size=4k", "cluster_size=2M", "compat=0.10"},
        Case{"-O raw", "cluster_size=64k", "extended_l2=on,cluster_size=16k"}}) {
    SCOPED_TRACE(std::string(one.base) + " / " + one.mid + " / " + one.top);
    ASSERT_TRUE(in_dir("rm -f *"));
    const uint64_t base_size = (9 << 20) + 1536, size = 14 << 20;
    make_disk(dir / "disk.raw", base_size, 7 << 20, 3);
    ASSERT_TRUE(in_dir(std::string("qemu-img convert ") + one.base + " disk.raw base"));
    const std::string format = std::string(one.base).find("raw") == 3 ? "raw" : "qcow2";
    ASSERT_TRUE(
        in_dir("qemu-img create -f qcow2 -b base -F " + format + " -o " + one.mid + " mid 12M"));
    ASSERT_TRUE(in_dir("qemu-img create -f qcow2 -b ./mid -F qcow2 -o " + std::string(one.top) +
                       " top 14M"));
    std::mt19937_64 random(7);
    std::string writes[2];  // by QEMU, into mid and top
    for (int i = 0; i < 60; ++i) {
      const uint64_t at = random() % ((i % 2 == 0 ? 12u : 14u) * 2047) * 512;
      writes[i % 2] += " -c 'write -P " + std::to_string(1 + i) + " " + std::to_string(at) + " " +
                       std::to_string(512 * (1 + random() % 40)) + "'";
    }
    ASSERT_TRUE(in_dir("qemu-io -f qcow2" + writes[0] + " mid"));
    ASSERT_TRUE(in_dir("qemu-io -f qcow2" + writes[1] + " top"));
    ASSERT_TRUE(in_dir("qemu-io -f qcow2 -c 'write -z 1M 256k' -c 'write -z 8M 128k' top"));
    ASSERT_TRUE(in_dir("qemu-img convert -O raw top truth"));
    const std::string truth = slurp(dir / "truth");
    for (const char* target : {R"({"format":"raw"})", R"({"format":"qcow2","compression":"zlib"})",
                               R"({"format":"qcow2","cluster_size":2097152})"}) {
      const Converted done = convert("top", target);
      ASSERT_EQ(done.status, HYPER_OK) << target << done.said;
      EXPECT_TRUE(in_dir("qemu-img compare top out")) << target;
    }
    OwnedSource file, guest;
    export_source(std::make_unique<FileSource>(dir / "top", seen()), file.out());
    hyper_op op;
    const hyper_doc config{{{"allow_backing", true}}}, request{nlohmann::json::object()};
    const auto& image = *static_cast<const hyper_image*>(Image<disk::ImageReader>::table());
    ASSERT_EQ(image.open(&op, 0, &config, file.raw(), &request, guest.out()), HYPER_OK) << op.all();
    ASSERT_EQ(guest.length(), size);
    std::string bytes;
    for (int i = 0; i < 100; ++i) {
      const uint64_t offset = random() % size;
      bytes.assign(std::min<uint64_t>(size - offset, random() % 300000), '?');
      guest.read_at(Op(&op), offset, bytes.data(), bytes.size());
      ASSERT_EQ(truth.compare(offset, bytes.size(), bytes), 0) << offset;
    }
    uint64_t expected = 0;
    guest.extents(Op(&op), 0, size, [&](const hyper_extent& extent) {
      EXPECT_EQ(extent.offset, expected);
      expected += extent.length;
      if ((extent.flags & HYPER_EXTENT_ZERO) == 0) return;
      EXPECT_GE(truth.find_first_not_of('\0', extent.offset), extent.offset + extent.length);
    });
    EXPECT_EQ(expected, size);
  }
}

TEST_F(Backing, NothingIsOpenedUnlessItIsAllowed) {
  NEED_QEMU();
  make_disk(dir / "base", 1 << 20, 1 << 20, 4);
  ASSERT_TRUE(overlay("top", "base", "raw"));
  EXPECT_EQ(convert("top", R"({"format":"raw"})", &plain).status, HYPER_UNSUPPORTED);
  EXPECT_EQ(convert("top").status, HYPER_OK);
  EXPECT_TRUE(slurp(dir / "out") == slurp(dir / "base"));
}

TEST_F(Backing, NamesThatLeadOutOfTheDirectoryAreRefused) {
  NEED_QEMU();
  make_disk(dir / "base", 1 << 20, 1 << 20, 5);
  for (const std::string& name :
       {dir / "base", std::string("../base"), std::string("a/../base"), std::string(".."),
        std::string("nbd:localhost:1"), std::string("file:base")}) {
    ASSERT_TRUE(overlay("top", name, "raw")) << name;
    expect_refused("top", HYPER_AUTH, "backing file");
  }
}

TEST_F(Backing, AFormatThatIsNotSaidIsNotGuessed) {
  NEED_QEMU();
  make_disk(dir / "base", 1 << 20, 1 << 20, 6);
  ASSERT_TRUE(overlay("top", "base", "raw"));
  std::string bytes = slurp(dir / "top");
  const auto at = bytes.find(std::string("\xe2\x79\x2a\xca", 4));
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 4, "none");  // an unknown extension: skipped
  spew(dir / "unsaid", bytes);
  expect_refused("unsaid", HYPER_UNSUPPORTED, "does not say which format");
  ASSERT_TRUE(overlay("other", "base", "vmdk"));
  expect_refused("other", HYPER_UNSUPPORTED, "vmdk");
  ASSERT_TRUE(overlay("gone", "nowhere", "raw"));
  EXPECT_NE(convert("gone").status, HYPER_OK);
  bytes.replace(at + 4, 4, "\xff\xff\xff\xff");
  spew(dir / "long", bytes);
  expect_refused("long", HYPER_CORRUPT, "extension");
}

TEST_F(Backing, EndlessChainsAreRefused) {
  NEED_QEMU();
  ASSERT_TRUE(overlay("other", "self", "qcow2"));
  std::filesystem::rename(dir / "other", dir / "self");
  expect_refused("self", HYPER_CORRUPT, "comes back");
  ASSERT_TRUE(overlay("a", "b", "qcow2"));
  ASSERT_TRUE(overlay("b", "c", "qcow2"));
  ASSERT_TRUE(overlay("c", "./b", "qcow2"));
  expect_refused("a", HYPER_CORRUPT, "comes back");
  make_disk(dir / "0", 1 << 20, 1 << 20, 7);
  for (int i = 1; i <= 17; ++i)
    ASSERT_TRUE(overlay(std::to_string(i), std::to_string(i - 1), i == 1 ? "raw" : "qcow2"));
  EXPECT_EQ(convert("16").status, HYPER_OK);
  EXPECT_TRUE(slurp(dir / "out") == slurp(dir / "0"));
  expect_refused("17", HYPER_UNSUPPORTED, "more than 16");
}

TEST_F(Backing, SnapshotsInsideAreToldOf) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", 1 << 20, 1 << 20, 9);
  ASSERT_TRUE(in_dir("qemu-img convert -O qcow2 disk.raw in"));
  EXPECT_FALSE(convert("in").result.contains("notes"));
  ASSERT_TRUE(in_dir("qemu-img snapshot -c one in && qemu-img snapshot -c two in"));
  ASSERT_TRUE(in_dir("qemu-io -f qcow2 -c 'write -P 7 0 64k' in"));
  const Converted done = convert("in");
  ASSERT_EQ(done.status, HYPER_OK) << done.said;
  EXPECT_NE(done.result["notes"].dump().find("2 internal snapshots"), std::string::npos)
      << done.result;
  EXPECT_TRUE(in_dir("qemu-img compare in out"));
}

// Units that reach over two batches are counted for each: no reason to call the image a liar.
TEST_F(Backing, DenselyCompressedClustersLargerThanABatchAreNoLie) {
  NEED_QEMU();
  std::string block(2 << 20, '\0'), bytes;
  std::mt19937_64 random(8);
  for (std::size_t i = 0; i < block.size(); ++i)
    if (i % 2048 < 1700) block[i] = static_cast<char>(random());
  for (int i = 0; i < 20; ++i) bytes += block;  // more than the tables' 10 MiB hide
  spew(dir / "disk", bytes);
  ASSERT_TRUE(in_dir("qemu-img convert -c -O qcow2 -o cluster_size=2M disk in"));
  const Converted done = convert("in");
  EXPECT_EQ(done.status, HYPER_OK) << done.said;
  EXPECT_TRUE(slurp(dir / "out") == bytes);
}

}  // namespace
}  // namespace hyper::test
