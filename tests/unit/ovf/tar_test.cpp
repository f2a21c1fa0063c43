// SPDX-License-Identifier: Apache-2.0
// The tar walk: against GNU tar and Python's tarfile as writers, against hand-made hostile headers,
// and against seeded noise. The manifest's lines too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include <hyper/error.hpp>

#include "plugins/provider/local-ovf/digest.hpp"
#include "plugins/provider/local-ovf/ovf_model.hpp"
#include "plugins/provider/local-ovf/tar_index.hpp"

namespace hyper::ovf {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Tar : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "ovf-tar-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string write(const std::string& bytes) {
    const std::string path = directory_ / "x.tar";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  TarIndex index(const std::string& bytes) { return index_tar(*File::open(write(bytes))); }
  std::string refusal(const std::string& bytes) {
    try {
      index(bytes);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }

  fs::path directory_;
};

/// A member's header with its checksum, and its data padded to whole blocks.
std::string member(const std::string& name, const std::string& data, char type = '0',
                   const std::function<void(std::string&)>& change = {}) {
  std::string header(512, '\0');
  name.copy(header.data(), 100);
  std::snprintf(header.data() + 100, 8, "%07o", 0644);
  std::snprintf(header.data() + 124, 12, "%011o", static_cast<unsigned>(data.size()));
  header[156] = type;
  std::memcpy(header.data() + 257, "ustar\00000", 8);
  if (change) change(header);
  std::memset(header.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(header.data() + 148, 8, "%06o", sum);
  return header + data + std::string((512 - data.size() % 512) % 512, '\0');
}

const std::string kEnd(1024, '\0');

std::string pax(const std::string& key, const std::string& value) {
  std::size_t length = key.size() + value.size() + 3;
  length += std::to_string(length + 2).size();
  return member("pax", std::to_string(length) + " " + key + "=" + value + "\n", 'x');
}

TEST_F(Tar, FindsMembersOfGnuTarInEveryFormat) {
  std::ofstream(directory_ / "a.ovf") << "descriptor";
  const std::string deep = std::string(60, 'd') + "/" + std::string(90, 'f') + ".vmdk";
  fs::create_directories((directory_ / deep).parent_path());
  std::ofstream(directory_ / deep) << std::string(1000, 'x');
  for (const std::string format : {"ustar", "pax", "gnu", "oldgnu"}) {
    SCOPED_TRACE(format);
    const std::string path = directory_ / ("out-" + format);
    const std::string command = "tar -C '" + directory_.string() + "' --format=" + format +
                                " -cf '" + path + "' ./a.ovf '" + deep + "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
    const auto file = File::open(path);
    const TarIndex found = index_tar(*file);
    ASSERT_EQ(found.members.size(), 2u);
    EXPECT_EQ(found.members[0].name, "a.ovf");
    EXPECT_EQ(found.members[1].name, deep);
    EXPECT_EQ(found.members[1].size, 1000u);
    std::string bytes(1000, '\0');
    file->read_some(found.members[1].offset, bytes.data(), bytes.size());
    EXPECT_EQ(bytes, std::string(1000, 'x'));
    EXPECT_TRUE(found.end_marker);
  }
}

TEST_F(Tar, SparseMembersOfGnuTarAreRefused) {
  const std::string path = directory_ / "hole";
  std::ofstream(path) << "begin";
  fs::resize_file(path, 10u << 20);
  for (const std::string format : {"gnu", "pax"}) {
    const std::string out = directory_ / "sparse.tar";
    const std::string command = "tar -C '" + directory_.string() + "' --sparse --format=" + format +
                                " -cf '" + out + "' hole";
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_THROW(index_tar(*File::open(out)), Error) << format;
  }
}

TEST_F(Tar, SizesBeyondEightGigabytes) {
  const uint64_t size = (uint64_t{9} << 30) + 5;
  const auto base256 = [&](std::string& header) {
    std::memset(header.data() + 124, 0, 12);
    header[124] = static_cast<char>(0x80);
    for (int i = 0; i < 8; ++i) header[135 - i] = static_cast<char>(size >> (8 * i));
  };
  for (const std::string& head :
       {member("big", "", '0', base256), pax("size", std::to_string(size)) + member("big", "")}) {
    const std::string path = write(head);
    fs::resize_file(path, head.size() + size + 507 + 1024);  // sparse
    const TarIndex found = index_tar(*File::open(path));
    ASSERT_EQ(found.members.size(), 1u);
    EXPECT_EQ(found.members[0].size, size);
    EXPECT_EQ(found.members[0].offset, head.size());
  }
}

TEST_F(Tar, DamageIsNamed) {
  const std::string good = member("a", "1") + kEnd;
  EXPECT_EQ(refusal(good), "");
  std::string flipped = good;
  flipped[0] = 'b';
  EXPECT_THAT(refusal(flipped), HasSubstr("header"));
  EXPECT_THAT(refusal(member("disk.vmdk", std::string(2000, 'x')).substr(0, 1500)),
              HasSubstr("'disk.vmdk'"));
  EXPECT_THAT(refusal(good.substr(0, 1024) + "short"), HasSubstr("in the middle of a tar header"));
  EXPECT_THAT(refusal(member("a", "1") + member("a", "2")), HasSubstr("two members named 'a'"));
  EXPECT_THAT(refusal("\x1f\x8b" + std::string(600, 'x')), HasSubstr("compressed as a whole"));
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
}

TEST_F(Tar, HostileNumbersAreRefused) {
  const auto field = [](std::size_t at, const std::string& bytes) {
    return [=](std::string& header) { bytes.copy(header.data() + at, bytes.size()); };
  };
  EXPECT_THAT(refusal(member("a", "", '0', field(124, std::string(12, '\xff')))),
              HasSubstr("negative"));
  EXPECT_THAT(refusal(member("a", "", '0', field(124, "\x80" + std::string(11, '\xff')))),
              HasSubstr("absurd"));
  EXPECT_THAT(refusal(member("a", "", '0',
                             field(124, "\x80" + std::string(3, '\0') + std::string(8, '\xff')))),
              testing::AnyOf(HasSubstr("absurd"), HasSubstr("truncated")));
  EXPECT_THAT(refusal(member("a", "", '0', field(124, "0000000009x"))), HasSubstr("no number"));
  EXPECT_THAT(refusal(pax("size", "99999999999999999999") + member("a", "")),
              HasSubstr("no number"));
  EXPECT_THAT(refusal(member("pax", "999 path=a\n", 'x') + member("a", "")), HasSubstr("pax"));
  EXPECT_THAT(refusal(member("pax", "0 path=a\n", 'x') + member("a", "")), HasSubstr("pax"));
  EXPECT_THAT(refusal(member("l", "", 'L', field(124, "77777777777"))), HasSubstr("absurd"));
}

TEST_F(Tar, LinksAreNoFilesAndAMissingEndIsSeen) {
  const TarIndex found =
      index(member("link", "", '2') + member("dir/", "", '5') + member("f", "x"));
  ASSERT_EQ(found.members.size(), 2u);
  EXPECT_FALSE(found.members[0].regular);
  EXPECT_TRUE(found.members[1].regular);
  EXPECT_FALSE(found.end_marker);
}

/// Whatever the bytes: an index whose members lie within the file, or one Error.
TEST_F(Tar, NoiseIsRefusedOrIndexedWithinTheFile) {
  std::mt19937 random(20240611);
  const std::string seed = pax("path", "long-name.vmdk") + member("a", std::string(700, 'x')) +
                           member("././@LongLink", "another-long-name", 'L') + member("b", "yy") +
                           member("c", "", '2') + kEnd;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = seed;
    const auto flips = 1 + random() % 4;
    for (unsigned i = 0; i < flips; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 3 == 0) bytes.resize(random() % bytes.size());
    if (random() % 2 == 0 && bytes.size() >= 512) {  // a valid checksum lets the change through
      const std::size_t at = random() % (bytes.size() / 512) * 512;
      std::memset(bytes.data() + at + 148, ' ', 8);
      unsigned sum = 0;
      for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(bytes[at + i]);
      std::snprintf(bytes.data() + at + 148, 8, "%06o", sum);
    }
    try {
      for (const TarMember& found : index(bytes).members) {
        ASSERT_LE(found.offset, bytes.size());
        ASSERT_LE(found.size, bytes.size() - found.offset);
      }
    } catch (const Error&) {
    }
  }
}

TEST(OvfFuzz, DescriptorsOfNoiseAreParsedOrRefused) {
  std::mt19937 random(42);
  std::vector<std::string> seeds;
  for (const fs::directory_entry& entry : fs::directory_iterator(OVF_DATA_DIR)) {
    std::ifstream in(entry.path(), std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  ASSERT_GE(seeds.size(), 5u);
  std::sort(seeds.begin(), seeds.end());
  const std::string dictionary[] = {"<",
                                    ">",
                                    "\"",
                                    "/",
                                    "&#0;",
                                    "999999999999999999999",
                                    "-1",
                                    "ovf:/disk/",
                                    "<Item>",
                                    "</Item>",
                                    "<VirtualSystem>",
                                    "byte * 2^63",
                                    "<![CDATA["};
  int parsed = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = seeds[random() % seeds.size()];
    const auto changes = 1 + random() % 6;
    for (unsigned i = 0; i < changes; ++i) {
      const std::size_t at = random() % text.size();
      if (random() % 2 == 0)
        text[at] = static_cast<char>(random());
      else
        text.insert(at, dictionary[random() % std::size(dictionary)]);
      if (random() % 4 == 0) text.erase(at, random() % 200);
    }
    try {
      parsed += parse_ovf(text, "noise.ovf").vms.empty() ? 0 : 1;
    } catch (const Error& error) {
      EXPECT_FALSE(error.summary().empty());
    }
  }
  EXPECT_GT(parsed, 50) << "the changes must not all end in malformed XML";
}

TEST(OvfManifest, LinesOfEveryExporter) {
  const std::string sha1(40, 'a'), sha256(64, 'B'), sha512(128, 'c');
  const Manifest manifest("SHA256(a b.vmdk)= " + sha256 + "\r\nSHA1 (x(1).ovf) = " + sha1 +
                              "\n\nsha512(z%20z.vmdk)=" + sha512 + "\nSHA-1(both)= " + sha1 +
                              "\nSHA256(./both)= " + sha256,
                          "x.mf");
  EXPECT_EQ(manifest.find("a b.vmdk")->hex, std::string(64, 'b'));
  EXPECT_EQ(manifest.find("x(1).ovf")->algorithm, "sha1");
  EXPECT_EQ(manifest.find("z z.vmdk")->algorithm, "sha512");
  EXPECT_EQ(manifest.find("both")->algorithm, "sha256") << "the stronger one";
  EXPECT_FALSE(manifest.find("none"));
}

TEST(OvfManifest, RefusesOtherLines) {
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      const Manifest manifest(text, "x.mf");
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_THAT(refusal("\nSHA256(a)= 12"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("MD5(a)= " + std::string(32, 'a')), HasSubstr("x.mf"));
  EXPECT_THAT(refusal("SHA1(a)= " + std::string(40, 'a') + "\nSHA1(a)= " + std::string(40, 'b')),
              HasSubstr("two different"));
}

}  // namespace
}  // namespace hyper::ovf
