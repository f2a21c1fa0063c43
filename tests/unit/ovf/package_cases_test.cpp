// SPDX-License-Identifier: Apache-2.0
// Every package that tests/support/ova_factory.py can make, through the plugin's C table: what it
// says is compared with what the factory knows, and the guest-visible bytes with what qemu-img
// reads from the place the source names.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/support/ovf_test_host.hpp"

namespace {

namespace fs = std::filesystem;
using namespace ovf_test;

std::string output_of(const std::string& command, int& status) {
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe))
    out.append(buffer.data(), got);
  status = pclose(pipe);
  return out;
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Json at(const std::string& path) {
  return Json{{"path", path}};
}

/// The cases, made once for the program.
const fs::path& cases() {
  static const struct Made {
    fs::path path;
    Made() {
      std::string name = (fs::temp_directory_path() / "ovf-cases-XXXXXX").string();
      path = mkdtemp(name.data());
      int status = 0;
      output_of("/usr/bin/python3 " + quoted(OVA_FACTORY) + " --big " + quoted(path.string()),
                status);
      if (status != 0) throw std::runtime_error("ova_factory.py failed");
    }
    ~Made() { fs::remove_all(path); }
  } made;
  return made.path;
}

Json expected_of(const fs::path& directory) {
  std::ifstream in(directory / "expected.json");
  return Json::parse(in);
}

/// SHA-256 of the guest-visible bytes, as qemu-img reads them; "" with its words if it cannot.
std::string guest_sha256(const Json& image, const fs::path& scratch, std::string& words) {
  const fs::path raw = scratch / "guest.raw";
  int status = 0;
  words = output_of("qemu-img convert -O raw " + quoted("json:" + image.dump()) + " " +
                        quoted(raw.string()) + " 2>&1",
                    status);
  std::string sum = status != 0 ? "" : output_of("sha256sum < " + quoted(raw.string()), status);
  fs::remove(raw);
  return sum.substr(0, 64);
}

std::string qemu_driver(const std::string& format) {
  return format == "vhd" ? "vpc" : format;
}

Json in_place_image(TestSource& source, const std::string& format) {
  hyper_file_range range{};
  range.size = sizeof range;
  EXPECT_EQ(source->locate(source->ctx, nullptr, 0, &range), HYPER_OK);
  return {{"driver", qemu_driver(format)},
          {"file",
           {{"driver", "raw"},
            {"offset", range.offset},
            {"size", range.length},
            {"file", {{"driver", "file"}, {"filename", range.path}}}}}};
}

/// Reads a disk as its source offers it and completes its checks. Returns the digest of the
/// guest-visible bytes; what went wrong lies in the session's diagnostics or in words.
std::string read_disk(Session& session, const Json& disk, const fs::path& scratch,
                      std::string& words) {
  TestSource source;
  if (session.open_disk(disk["id"], source) != HYPER_OK) return "";
  std::string sum;
  if ((source->flags & HYPER_SOURCE_FILE) != 0) {
    sum = guest_sha256(in_place_image(source, disk["format"]), scratch, words);
  } else {
    std::string bytes;
    if (source.stream(session.op, bytes) != HYPER_OK) return "";
    const fs::path copy = scratch / "copy";
    std::ofstream(copy, std::ios::binary) << bytes;
    sum = guest_sha256({{"driver", qemu_driver(disk["format"])},
                        {"file", {{"driver", "file"}, {"filename", copy.string()}}}},
                       scratch, words);
  }
  Json result;
  if (source.finish(session.op, result) != HYPER_OK) return "";
  EXPECT_TRUE(result.value("checksum", "").rfind("sha256:", 0) == 0) << result;
  return sum;
}

void expect_mentions(const std::string& text, const Json& mentions) {
  EXPECT_NE(text, "");
  for (const std::string word : mentions)
    EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
}

void expect_disk(const Json& found, const Json& expected) {
  EXPECT_EQ(found["capacity_bytes"], expected["capacity"]);
  EXPECT_EQ(found.value("blank", false), expected["blank"].get<bool>());
  EXPECT_EQ(found["ovf_id"], expected.value("id", "bare"));
}

void expect_vm(const Json& found, const Json& expected) {
  EXPECT_EQ(found["name"], expected["name"]);
  ASSERT_EQ(found["disks"].size(), expected["disks"].size());
  for (std::size_t i = 0; i < found["disks"].size(); ++i)
    expect_disk(found["disks"][i], expected["disks"][i]);
  if (!expected.contains("cpus")) return;
  EXPECT_EQ(found["cpu"], expected["cpus"]);
  EXPECT_EQ(found["memory_bytes"].get<uint64_t>() >> 20, expected["memory_mib"].get<uint64_t>());
  EXPECT_EQ(found["firmware"], expected["firmware"]);
  EXPECT_EQ(found["secure_boot"], expected["secure_boot"]);
  ASSERT_EQ(found["nics"].size(), expected["nics"].size());
  for (std::size_t i = 0; i < found["nics"].size(); ++i) {
    EXPECT_EQ(found["nics"][i]["network"], expected["nics"][i]["network"]);
    EXPECT_EQ(found["nics"][i]["mac"], expected["nics"][i]["mac"]);
  }
}

void accept(const fs::path& directory, const Json& expected) {
  const std::string path = directory / expected["path"].get<std::string>();
  Session session(at(path));
  const std::vector<Json> listed = session.list();
  ASSERT_EQ(session.status(), HYPER_OK) << session.op.error();
  ASSERT_EQ(listed.size(), expected["vms"].size());
  std::string remarks;
  for (std::size_t i = 0; i < listed.size(); ++i) {
    const Json vm = session.describe(listed[i]["ref"]);
    ASSERT_EQ(session.status(), HYPER_OK) << session.op.error();
    expect_vm(vm, expected["vms"][i]);
    remarks += vm["notes"].dump() + vm["warnings"].dump();
    Session reading(at(path));
    ASSERT_EQ(reading.open_vm(listed[i]["ref"]), HYPER_OK) << reading.op.error();
    for (std::size_t d = 0; d < vm["disks"].size(); ++d) {
      const Json& truth = expected["vms"][i]["disks"][d];
      if (truth["blank"].get<bool>()) continue;
      std::string words;
      const std::string sum = read_disk(reading, vm["disks"][d], directory, words);
      EXPECT_EQ(reading.op.error(), "");
      EXPECT_EQ(Json(sum), truth["sha256"]) << words;
    }
  }
  for (const std::string word : expected["notes"])
    EXPECT_NE(remarks.find(word), std::string::npos) << word << " in: " << remarks;
}

void refuse(const fs::path& directory, const Json& expected) {
  Session session(at(directory / expected["path"].get<std::string>()));
  const std::vector<Json> listed = session.list();
  if (expected["stage"] == "open") {
    EXPECT_TRUE(listed.empty());
    EXPECT_NE(session.status(), HYPER_OK);
    return expect_mentions(session.op.error(), expected["mentions"]);
  }
  ASSERT_EQ(session.status(), HYPER_OK) << session.op.error();
  const Json vm = session.describe(listed.at(0)["ref"]);
  ASSERT_EQ(session.open_vm(listed[0]["ref"]), HYPER_OK) << session.op.error();
  std::string words;
  read_disk(session, vm["disks"][0], directory, words);
  // Damage inside an image is found by its decoder: here qemu-img.
  const bool minded = !session.op.error().empty();
  EXPECT_TRUE(minded || !words.empty()) << "neither the source nor qemu-img minded";
  if (minded) expect_mentions(session.op.error(), expected["mentions"]);
}

TEST(OvfPackageCases, EachIsReadOrRefusedAsTheFactorySays) {
  std::size_t count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(cases())) {
    SCOPED_TRACE(entry.path().filename());
    const Json expected = expected_of(entry.path());
    ++count;
    if (expected["ok"].get<bool>())
      accept(entry.path(), expected);
    else
      refuse(entry.path(), expected);
  }
  EXPECT_GT(count, 50u);
}

}  // namespace
