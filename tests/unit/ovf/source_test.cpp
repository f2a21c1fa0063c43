// SPDX-License-Identifier: Apache-2.0
// The plugin's sources and its catalog through the C table: access, integrity, names, images that
// lean on other files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/support/ovf_test_host.hpp"

namespace {

namespace fs = std::filesystem;
using namespace ovf_test;
using testing::HasSubstr;

std::string sha256_of(const std::string& path) {
  FILE* pipe = popen(("sha256sum < '" + path + "'").c_str(), "r");
  std::string out(64, '\0');
  out.resize(fread(out.data(), 1, 64, pipe));
  pclose(pipe);
  return out;
}

class Provider : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "ovf-source-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& bytes) {
    const fs::path path = directory_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::string image(const std::string& name, const std::string& format,
                    const std::string& more = "") {
    const std::string path = directory_ / name;
    const std::string command =
        "qemu-img create -q -f " + format + " " + more + " '" + path + "' 5M";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return path;
  }
  Json at(const std::string& name = "", bool recursive = false) {
    return {{"path", (directory_ / name).string()}, {"recursive", recursive}};
  }
  /// Connects and opens the VM; what went wrong, or "".
  std::string open(Session& session, const std::string& vm) {
    session.open_vm(vm);
    return session.op.error();
  }

  fs::path directory_;
};

std::string noise(std::size_t size) {
  std::mt19937_64 random(7);
  std::string out(size, '\0');
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t word = random();
    std::memcpy(out.data() + i, &word, 8);
  }
  return out;
}

TEST_F(Provider, ImagesOfEveryFormatAreKnownByContent) {
  for (const auto& [name, format, expected, subformat] : std::vector<std::array<std::string, 4>>{
           {"a.img", "qcow2", "qcow2", ""},
           {"b.img", "vmdk", "vmdk", "monolithicSparse"},
           {"c.img", "vmdk -o subformat=streamOptimized", "vmdk", "streamOptimized"},
           {"d.img", "vdi", "vdi", "dynamic"},
           {"e.img", "vhdx", "vhdx", "dynamic"},
           {"f.img", "vpc -o force_size=on", "vhd", "dynamic"},
           {"g.img", "vpc -o force_size=on,subformat=fixed", "vhd", "fixed"},
           {"h.img", "raw", "raw", ""}}) {
    SCOPED_TRACE(format);
    image(name, format);
    Session session(at(name));
    const Json vm = session.describe(name);
    ASSERT_EQ(session.status(), HYPER_OK) << session.op.error();
    EXPECT_EQ(vm["export_method"], "image");
    EXPECT_EQ(vm["firmware"], "unknown");
    EXPECT_EQ(vm["disks"][0]["format"], expected);
    EXPECT_EQ(vm["disks"][0].value("subformat", ""), subformat);
    EXPECT_EQ(vm["disks"][0]["capacity_bytes"], 5u << 20);
  }
}

TEST_F(Provider, AVmWhoseDiskIsNotAsDescribedIsNotOpened) {
  write("disk.raw", noise(1 << 20));
  Session session(at("disk.raw"));
  const Json ids = {{"disk-0", session.describe("disk.raw")["disks"][0]["content_id"]}};
  ASSERT_EQ(session.open_vm("disk.raw", ids), HYPER_OK) << session.op.error();
  const auto modified = fs::last_write_time(directory_ / "disk.raw");
  write("disk.raw", std::string(1 << 20, 'x'));  // in place, of the same length
  fs::last_write_time(directory_ / "disk.raw", modified);
  Session later(at("disk.raw"));
  EXPECT_EQ(later.open_vm("disk.raw", ids), HYPER_BUSY);
  EXPECT_THAT(later.op.error(), HasSubstr("was changed since the VM 'disk' was looked at"));
  EXPECT_TRUE(later.op.diagnostics().back().retryable);
  EXPECT_EQ(later.open_vm("disk.raw"), HYPER_OK) << "who names no content gets what is there";
}

TEST_F(Provider, ImagesThatLeanOnOtherFilesAreRefused) {
  image("base.qcow2", "qcow2");
  image("over.qcow2", "qcow2", "-b base.qcow2 -F qcow2");
  image("base.vmdk", "vmdk");
  image("over.vmdk", "vmdk", "-b base.vmdk -F vmdk");
  image("data.qcow2", "qcow2", "-o data_file='" + (directory_ / "data.bin").string() + "'");
  for (const std::string name : {"over.qcow2", "over.vmdk", "data.qcow2"}) {
    Session session(at(name));
    EXPECT_THAT(open(session, name), HasSubstr("only a part of a disk")) << name;
    EXPECT_EQ(session.status(), HYPER_UNSUPPORTED);
  }
}

TEST_F(Provider, VmdkExtentsMustLieBesideTheirDescriptor) {
  const std::string head =
      "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
      "createType=\"monolithicFlat\"\nRW 8 FLAT ";
  write("a.vmdk", head + "\"/etc/passwd\" 0\n");
  write("b.vmdk", head + "\"../x\" 0\n");
  write("c.vmdk", head + "\"link.bin\" 0\n");
  write("d.vmdk", head + "\"nbd:unix\" 0\n");
  write("e.vmdk", head + "\"missing.bin\" 0\n");
  write("f.vmdk", "# Disk DescriptorFile\n# parentFileNameHint=\"/etc/passwd\"\nRW 8 ZERO\n");
  fs::create_symlink("/etc/passwd", directory_ / "link.bin");
  for (const auto& [name, word, status] :
       std::vector<std::tuple<std::string, std::string, hyper_st>>{
           {"a.vmdk", "/etc/passwd", HYPER_AUTH},
           {"b.vmdk", "../x", HYPER_AUTH},
           {"c.vmdk", "symbolic link", HYPER_AUTH},
           {"d.vmdk", "nbd:unix", HYPER_AUTH},
           {"e.vmdk", "missing.bin", HYPER_NOTFOUND},
           {"f.vmdk", "parent", HYPER_UNSUPPORTED}}) {
    Session session(at(name));
    EXPECT_THAT(open(session, name), HasSubstr(word));
    EXPECT_EQ(session.status(), status) << name;
  }
}

TEST_F(Provider, SiblingsOfATextVmdkAreItsExtentsAndNothingElse) {
  image("disk.vmdk", "vmdk", "-o subformat=twoGbMaxExtentFlat");
  write("other.bin", "x");
  Session session(at());
  const std::vector<Json> listed = session.list();
  ASSERT_EQ(listed.size(), 1u) << "the extents are no disks: " << Json(listed);
  ASSERT_EQ(open(session, "disk"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  EXPECT_TRUE(source->flags & HYPER_SOURCE_SIBLING);
  TestSource extent;
  ASSERT_EQ(source->sibling(source->ctx, session.op.raw(), 0, "disk-f001.vmdk", extent.out()),
            HYPER_OK);
  EXPECT_EQ(extent->length, 5u << 20);
  TestSource none;
  EXPECT_EQ(source->sibling(source->ctx, session.op.raw(), 0, "other.bin", none.out()),
            HYPER_NOTFOUND);
  EXPECT_EQ(source->sibling(source->ctx, session.op.raw(), 0, "../disk-f001.vmdk", none.out()),
            HYPER_AUTH);
}

TEST_F(Provider, StreamAndParallelReadsGiveTheSameBytesAndDigest) {
  const std::string bytes = noise(9u << 20);
  const std::string path = write("x.raw", bytes);
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  TestSource stream;
  ASSERT_EQ(session.open_disk("disk-0", stream), HYPER_OK);
  std::string read;
  ASSERT_EQ(stream.stream(session.op, read), HYPER_OK);
  EXPECT_TRUE(read == bytes);
  Json streamed;
  ASSERT_EQ(stream.finish(session.op, streamed), HYPER_OK);

  TestSource seek;
  ASSERT_EQ(session.open_disk("disk-0", seek), HYPER_OK);
  EXPECT_GE(seek->max_parallel, 4u);
  std::vector<std::thread> readers;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t)
    readers.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::string part;
      for (int i = 0; i < 200; ++i) {
        const uint64_t offset = random() % bytes.size();
        part.resize(std::min<uint64_t>(random() % 70'000, bytes.size() - offset));
        if (seek->read_at(seek->ctx, session.op.raw(), 0, offset, part.data(), part.size()) !=
                HYPER_OK ||
            bytes.compare(offset, part.size(), part) != 0)
          ++wrong;
      }
    });
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  Json sought;
  ASSERT_EQ(seek.finish(session.op, sought), HYPER_OK);
  EXPECT_EQ(sought, streamed);
  EXPECT_EQ(sought["checksum"], "sha256:" + sha256_of(path));
  EXPECT_EQ(sought["bytes"], bytes.size());
  char byte = 0;
  EXPECT_EQ(seek->read_at(seek->ctx, session.op.raw(), 0, bytes.size(), &byte, 1), HYPER_FAIL);
}

TEST_F(Provider, AnUnfinishedStreamIsCheckedToItsEnd) {
  const std::string path = write("x.raw", noise(5u << 20));
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  hyper_span span{};
  ASSERT_EQ(source->next(source->ctx, session.op.raw(), 0, &span), HYPER_OK);
  source->release(source->ctx, &span);
  Json result;
  ASSERT_EQ(source.finish(session.op, result), HYPER_OK);
  EXPECT_EQ(result["checksum"], "sha256:" + sha256_of(path));
}

TEST_F(Provider, ChecksumsCanBeSwitchedOff) {
  write("x.raw", noise(1u << 20));
  Json options = at("x.raw");
  options["verify_checksums"] = false;
  Session session(options);
  ASSERT_EQ(open(session, "x"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  Json result;
  ASSERT_EQ(source.finish(session.op, result), HYPER_OK);
  EXPECT_EQ(result, Json({{"bytes", 1u << 20}}));
}

TEST_F(Provider, AFileThatChangesWhileItIsReadFailsTheDisk) {
  const std::string path = write("x.raw", noise(1u << 20));
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  for (const bool replaced : {false, true}) {
    TestSource source;
    ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
    if (replaced) {
      fs::copy_file(path, path + ".new");
      fs::rename(path + ".new", path);
    } else {
      std::ofstream(path, std::ios::binary | std::ios::app) << "more";
    }
    Json result;
    EXPECT_EQ(source.finish(session.op, result), HYPER_CORRUPT);
    EXPECT_THAT(session.op.error(), HasSubstr("changed or replaced"));
  }
}

TEST_F(Provider, AChangeInPlaceWithItsTimeRestoredFailsTheDisk) {
  const std::string path = write("x.raw", noise(1u << 20));
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  const auto before = fs::last_write_time(path);
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file << "another boot sector";
  }
  fs::last_write_time(path, before);
  Json result;
  EXPECT_EQ(source.finish(session.op, result), HYPER_CORRUPT);
  EXPECT_THAT(session.op.error(), HasSubstr("changed or replaced"));
}

TEST_F(Provider, FinishStopsWhenCancelled) {
  const std::string path = write("x.raw", "begin");
  fs::resize_file(path, uint64_t{3} << 30);  // seconds of hashing
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  char byte = 0;
  ASSERT_EQ(source->read_at(source->ctx, session.op.raw(), 0, 0, &byte, 1), HYPER_OK);
  session.op.cancel();
  Json result;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(source.finish(session.op, result), HYPER_CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(Provider, ExtentsCoverExactlyWhatWasAskedAndHolesAreZero) {
  const std::string path = write("x.raw", std::string(100'000, 'x'));
  fs::resize_file(path, 40u << 20);
  Session session(at("x.raw"));
  ASSERT_EQ(open(session, "x"), "");
  TestSource source;
  ASSERT_EQ(session.open_disk("disk-0", source), HYPER_OK);
  std::vector<hyper_extent> found;
  const auto keep = [](void* arg, const hyper_extent* extent) noexcept -> hyper_st {
    static_cast<std::vector<hyper_extent>*>(arg)->push_back(*extent);
    return HYPER_OK;
  };
  const uint64_t from = 1000, length = (40u << 20) - 1000 - 17;
  ASSERT_EQ(source->extents(source->ctx, session.op.raw(), 0, from, length, keep, &found),
            HYPER_OK);
  uint64_t next = from, holes = 0;
  for (const hyper_extent& extent : found) {
    EXPECT_EQ(extent.offset, next);
    next += extent.length;
    if (extent.flags != 0) holes += extent.length;
  }
  EXPECT_EQ(next, from + length);
  EXPECT_GT(holes, 30u << 20) << "this file system keeps no holes?";
  EXPECT_EQ(source->extents(source->ctx, session.op.raw(), 0, 0, (40u << 20) + 1, keep, &found),
            HYPER_FAIL);
}

TEST_F(Provider, NamesAreFoundAndTellWhenTheyAreNot) {
  write("web-01.raw", noise(4096));
  write("web-02.raw", noise(4096));
  write("sub/web-01.raw", noise(4096));
  write("notes.txt", "no image");
  {
    Session session(at());
    EXPECT_EQ(session.list().size(), 2u);
    EXPECT_EQ(session.list("*-02").size(), 1u);
    EXPECT_EQ(session.list("web-02.r*").size(), 1u) << "references match too";
    EXPECT_EQ(session.describe("web-01")["ref"], "web-01.raw");
    session.describe("web-03");
    EXPECT_EQ(session.status(), HYPER_NOTFOUND);
    EXPECT_THAT(session.op.error(), HasSubstr("near names: web-01, web-02"));
  }
  Session session(at("", true));
  EXPECT_EQ(session.list().size(), 3u);
  session.describe("web-01");
  EXPECT_EQ(session.status(), HYPER_CONFIG);
  EXPECT_THAT(session.op.error(), HasSubstr("sub/web-01.raw, web-01.raw"));
  EXPECT_EQ(session.describe("sub/web-01.raw")["name"], "web-01");
  EXPECT_EQ(session.describe((directory_ / "web-01.raw").string())["ref"], "web-01.raw");
}

TEST_F(Provider, ABadPackageIsAWarningInAListAndAnErrorByName) {
  write("good.raw", noise(4096));
  write("bad.ova", "this is not a tar archive");
  Session session(at());
  EXPECT_EQ(session.list().size(), 1u);
  EXPECT_EQ(session.status(), HYPER_OK);
  ASSERT_EQ(session.op.diagnostics().size(), 1u);
  EXPECT_EQ(session.op.diagnostics()[0].severity, HYPER_SEVERITY_WARNING);
  EXPECT_THAT(session.op.diagnostics()[0].summary, HasSubstr("bad.ova"));
  session.describe("bad.ova");
  EXPECT_EQ(session.status(), HYPER_CORRUPT);
}

TEST_F(Provider, APathThatIsNotThereIsSaidWithItsOption) {
  Session session(at("nowhere"));
  EXPECT_EQ(session.status(), HYPER_NOTFOUND);
  EXPECT_EQ(session.op.diagnostics().at(0).path, "/path");
}

TEST_F(Provider, LinksInADirectoryAreNotFollowed) {
  const std::string path = write("real/x.raw", noise(4096));
  fs::create_directories(directory_ / "shelf");
  fs::create_symlink(path, directory_ / "shelf/x.raw");
  Session session(at("shelf"));
  EXPECT_TRUE(session.list().empty());
}

}  // namespace
