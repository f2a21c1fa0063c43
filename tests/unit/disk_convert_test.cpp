// SPDX-License-Identifier: Apache-2.0
// The disk engine against qemu-img: whatever is converted passes its check and compares equal.
#include <gtest/gtest.h>

#include "tests/support/convert_file.hpp"
#include "tests/support/disk_files.hpp"

namespace hyper::test {
namespace {

using nlohmann::json;

struct Target {
  const char* name;
  const char* json;
  const char* qemu;  // its name of the format
  bool check;        // qemu-img check knows it
};
constexpr Target kTargets[] = {
    {"raw", R"({"format":"raw"})", "raw", false},
    {"qcow2", R"({"format":"qcow2"})", "qcow2", true},
    {"qcow2_4k", R"({"format":"qcow2","cluster_size":4096})", "qcow2", true},
    {"qcow2_2m", R"({"format":"qcow2","cluster_size":2097152})", "qcow2", true},
    {"qcow2_zlib", R"({"format":"qcow2","compression":"zlib"})", "qcow2", true},
    {"qcow2_zlib_4k", R"({"format":"qcow2","compression":"zlib","cluster_size":4096})", "qcow2",
     true},
    {"qcow2_zstd", R"({"format":"qcow2","compression":"zstd"})", "qcow2", true},
    {"qcow2_zstd_2m", R"({"format":"qcow2","compression":"zstd","cluster_size":2097152})", "qcow2",
     true},
    {"qcow2_keep", R"({"format":"qcow2","compression":"keep"})", "qcow2", true},
    {"vhd", R"({"format":"vhd"})", "vpc", false},
    {"vhd_fixed", R"({"format":"vhd","subformat":"fixed"})", "vpc", false},
    {"vmdk", R"({"format":"vmdk"})", "vmdk", false},
};

/// A single byte, sectors, edges of grains and clusters and blocks, the sizes in between.
struct Disk {
  const char* name;
  uint64_t size, fill;
};
constexpr Disk kDisks[] = {
    {"odd_bytes", 3724, 3724},
    {"sector", 512, 512},
    {"zero_sector", 512, 0},
    {"grain", 65536, 65536},
    {"grain_and_sector", 65536 + 512, 70000},
    {"all_zero", 10 << 20, 0},
    {"odd", (5 << 20) + 3 * 512, 6 << 20},
    {"fragmented", 70 << 20, 9 << 20},
    {"sparse", 2049ull << 30, 2 << 20},  // qemu-img compares a TiB in half a minute
};

class ConvertAll : public testing::TestWithParam<Disk> {
 protected:
  TestHost host;
  Scratch dir;
};

INSTANTIATE_TEST_SUITE_P(Disks, ConvertAll, testing::ValuesIn(kDisks),
                         [](const auto& disk) { return disk.param.name; });

void expect_equal(const std::string& image, const Target& target, const std::string& raw) {
  if (target.check) {
    EXPECT_TRUE(qemu(std::string("check -f ") + target.qemu + " " + image)) << target.name;
  }
  // Not with -s: a VHD grows to whole MiB, with zeros.
  EXPECT_TRUE(qemu(std::string("compare -f ") + target.qemu + " -F raw " + image + " " + raw))
      << target.name;
}

TEST_P(ConvertAll, FromRawToEveryTarget) {
  NEED_QEMU();
  const Disk disk = GetParam();
  make_disk(dir / "disk.raw", disk.size, disk.fill, 1);
  TestConverter converter({.threads = 3});
  for (const Target& target : kTargets) {
    const json request = make_request("raw", target.json, true);
    if (disk.size > (2040ull << 30) && std::string(target.qemu) == "vpc") {
      EXPECT_EQ(converter.run(dir / "disk.raw", dir / "out", request).status, HYPER_UNSUPPORTED);
      continue;
    }
    const Converted done = converter.run(dir / "disk.raw", dir / "out", request);
    ASSERT_EQ(done.status, HYPER_OK) << target.name << ": " << done.said;
    expect_equal(dir / "out", target, dir / "disk.raw");
  }
}

TEST_P(ConvertAll, FromEverySourceToRawAndQcow2WithOneDigest) {
  NEED_QEMU();
  const Disk disk = GetParam();
  make_disk(dir / "disk.raw", disk.size, disk.fill, 2);
  TestConverter converter({.threads = 3});
  std::string digest;
  const std::pair<const char*, const char*> sources[] = {
      {"raw", "-O raw"},
      {"vmdk", "-O vmdk -o subformat=streamOptimized"},
      {"vmdk", "-O vmdk -o subformat=monolithicSparse"},
      {"qcow2", "-O qcow2"},
      {"qcow2", "-c -O qcow2"},
      {"qcow2", "-c -O qcow2 -o compression_type=zstd"},
      {"qcow2", "-O qcow2 -o extended_l2=on,cluster_size=128k"},
      {"qcow2", "-O qcow2 -o compat=0.10,cluster_size=4k"},
      {"vdi", "-O vdi"},
      {"vhdx", "-O vhdx"},
  };
  for (const auto& [format, options] : sources) {
    if (disk.size >= (2ull << 40) && std::string(format) != "raw" &&
        std::string(options) != "-O qcow2")
      continue;  // qemu-img takes minutes, or the format cannot hold it
    SCOPED_TRACE(options);
    std::filesystem::remove(dir / "in");
    ASSERT_TRUE(qemu(std::string("convert -f raw ") + options + " " + (dir / "disk.raw") + " " +
                     (dir / "in")));
    for (const Target& target : {kTargets[0], kTargets[1]}) {
      const json request = make_request(format, target.json, true);
      const Converted done = converter.run(dir / "in", dir / "out", request);
      ASSERT_EQ(done.status, HYPER_OK) << done.said;
      expect_equal(dir / "out", target, dir / "disk.raw");
      if (digest.empty()) digest = done.result["digest"].get<std::string>();
      EXPECT_EQ(done.result["digest"], digest);
    }
  }
}

class Convert : public testing::Test {
 protected:
  TestHost host;
  Scratch dir;
};

TEST_F(Convert, StreamsGiveTheSameImageAsFiles) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", (40 << 20) + 512, 12 << 20, 3);
  ASSERT_TRUE(qemu("convert -O vmdk -o subformat=streamOptimized " + (dir / "disk.raw") + " " +
                   (dir / "qemu")));
  TestConverter converter({.threads = 4});
  ASSERT_EQ(
      converter.run(dir / "disk.raw", dir / "own", make_request("raw", R"({"format":"vmdk"})"))
          .status,
      HYPER_OK);  // VMware's layout: the tables behind
  const std::pair<const char*, const char*> sources[] = {
      {"raw", "disk.raw"}, {"vmdk", "qemu"}, {"vmdk", "own"}};
  for (const auto& [format, name] : sources)
    for (const char* compression : {"none", "zlib", "keep"})
      for (const bool digest : {false, true}) {
        SCOPED_TRACE(std::string(name) + " " + compression);
        json job = make_request(
            format, std::string(R"({"format":"qcow2","compression":")") + compression + "\"}");
        job["digest"] = digest;
        SourceOptions stream;
        stream.flags = HYPER_SOURCE_STREAM;
        stream.format = format;
        const Converted seek = converter.run(dir / name, dir / "seek", job);
        ASSERT_EQ(seek.status, HYPER_OK) << seek.said;
        const Converted forward = converter.run(dir / name, dir / "stream", job, stream);
        ASSERT_EQ(forward.status, HYPER_OK) << forward.said;
        EXPECT_EQ(seek.result.value("digest", ""), forward.result.value("digest", ""));
        expect_equal(dir / "stream", kTargets[1], dir / "disk.raw");
        expect_equal(dir / "seek", kTargets[1], dir / "disk.raw");
        if (std::string(compression) != "keep" || std::string(format) == "raw") {
          EXPECT_EQ(slurp(dir / "seek"), slurp(dir / "stream"));
        }
      }
}

TEST_F(Convert, TheNumberOfThreadsDoesNotChangeTheImage) {
  make_disk(dir / "disk.raw", 24 << 20, 5 << 20, 4);
  for (const Target& target : kTargets) {
    json job = make_request("raw", target.json);
    job["target"]["deterministic"] = true;
    std::string first;
    for (const int threads : {1, 2, 7}) {
      TestConverter converter({.threads = threads});
      const Converted done = converter.run(dir / "disk.raw", dir / "out", job);
      ASSERT_EQ(done.status, HYPER_OK) << done.said;
      const std::string bytes = slurp(dir / "out");
      if (first.empty()) first = bytes;
      EXPECT_TRUE(bytes == first) << target.name << " with " << threads << " threads";
    }
  }
}

TEST_F(Convert, SinksOfPartsAndAppendsGetTheSameBytesAsFiles) {
  make_disk(dir / "disk.raw", (17 << 20) + 1024, 5 << 20, 5);
  TestConverter converter({.threads = 3});
  for (const Target& target : kTargets) {
    SCOPED_TRACE(target.name);
    json job = make_request("raw", target.json);
    job["target"]["deterministic"] = true;
    ASSERT_EQ(converter.run(dir / "disk.raw", dir / "file", job).status, HYPER_OK);
    SinkOptions parts;
    parts.flags = HYPER_SINK_PARTS;
    parts.part_size = 5 << 20;
    const Converted done = converter.run(dir / "disk.raw", dir / "parts", job, {}, parts);
    ASSERT_EQ(done.status, HYPER_OK) << done.said;
    EXPECT_TRUE(slurp(dir / "file") == slurp(dir / "parts"));
    const Converted plan = converter.plan(job);
    ASSERT_EQ(plan.status, HYPER_OK) << plan.said;
    const auto& sinks = plan.result["sink"];
    if (std::find(sinks.begin(), sinks.end(), "append") == sinks.end()) continue;
    SinkOptions append;
    append.flags = HYPER_SINK_APPEND;
    append.max_parallel = 1;
    const Converted appended = converter.run(dir / "disk.raw", dir / "append", job, {}, append);
    ASSERT_EQ(appended.status, HYPER_OK) << appended.said;
    EXPECT_TRUE(slurp(dir / "file") == slurp(dir / "append"));
  }
}

TEST_F(Convert, KeepTakesGrainsOverAsTheyStand) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", (20 << 20) + 4096, 30 << 20, 6);
  ASSERT_TRUE(qemu("convert -O vmdk -o subformat=streamOptimized " + (dir / "disk.raw") + " " +
                   (dir / "in")));
  TestConverter converter;
  json job = make_request("vmdk", R"({"format":"qcow2","compression":"keep"})");
  const Converted done = converter.run(dir / "in", dir / "out", job);
  ASSERT_EQ(done.status, HYPER_OK) << done.said;
  EXPECT_GT(std::stoi(done.result["notes"][0].get<std::string>()), 100);
  EXPECT_LT(std::filesystem::file_size(dir / "out"),
            std::filesystem::file_size(dir / "in") + (512u << 10));
  // With the digest, grains are inflated for hashing: the same image.
  job["digest"] = true;
  ASSERT_EQ(converter.run(dir / "in", dir / "hashed", job).status, HYPER_OK);
  EXPECT_TRUE(slurp(dir / "out") == slurp(dir / "hashed"));
  // A strict image keeps none, and says so.
  TestConverter strict({.strict_deflate = true});
  const Converted strictly = strict.run(dir / "in", dir / "strict", job);
  ASSERT_EQ(strictly.status, HYPER_OK) << strictly.said;
  EXPECT_NE(strictly.result["notes"].dump().find("recompressed"), std::string::npos);
  expect_equal(dir / "strict", kTargets[1], dir / "disk.raw");
}

TEST_F(Convert, TheDigestIsTheOneThatAnyoneCanRecompute) {
  if (!run("/usr/bin/python3 -c pass")) GTEST_SKIP() << "no python3";
  // The program in core/disk/digest.md.
  std::string text = slurp(HYPER_SOURCE_DIR "/core/disk/digest.md");
  const std::size_t from = text.find("```python\n") + 10;
  ASSERT_GT(from, 10u);
  spew(dir / "digest.py", text.substr(from, text.find("```", from) - from));
  TestConverter converter({.threads = 3});
  for (const uint64_t size :
       {uint64_t{512}, uint64_t{1} << 20, (uint64_t{3} << 20) + 512, uint64_t{1030} << 20}) {
    make_disk(dir / "disk.raw", size, 2 << 20, 7);
    const std::string command = "/usr/bin/python3 " + (dir / "digest.py") + " " +
                                (dir / "disk.raw") + " > " + (dir / "digest");
    ASSERT_EQ(std::system(command.c_str()), 0);
    json job = make_request("raw", R"({"format":"qcow2"})");
    job["digest"] = true;
    const Converted done = converter.run(dir / "disk.raw", dir / "out", job);
    ASSERT_EQ(done.status, HYPER_OK) << done.said;
    EXPECT_EQ(done.result["digest"].get<std::string>() + "\n", slurp(dir / "digest")) << size;
  }
}

TEST_F(Convert, ManyDisksShareOneBudget) {
  for (int i = 0; i < 6; ++i)
    make_disk(dir / std::to_string(i), (20 << 20) + 512 * i, 6 << 20, 10 + i);
  // Room for three workers in all.
  TestConverter converter({.threads = 2, .memory = 16 << 20});
  std::vector<std::jthread> threads;
  std::atomic<int> fine{0};
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&, i] {
      const std::string name = std::to_string(i);
      if (converter
              .run(dir / name, dir / (name + ".out"), make_request("raw", R"({"format":"raw"})"))
              .status == HYPER_OK)
        ++fine;
    });
  threads.clear();
  EXPECT_EQ(fine, 6);
  for (int i = 0; i < 6; ++i)
    EXPECT_TRUE(slurp(dir / std::to_string(i)) == slurp(dir / (std::to_string(i) + ".out")));
}

TEST_F(Convert, ASourceThatAllowsOneCallAtATimeAndWholeBlocks) {
  NEED_QEMU();
  make_disk(dir / "disk.raw", 30 << 20, 12 << 20, 20);
  ASSERT_TRUE(qemu("convert -c -O qcow2 " + (dir / "disk.raw") + " " + (dir / "in")));
  TestConverter converter({.threads = 4});
  SourceOptions slow;
  slow.flags = HYPER_SOURCE_SEEK;
  slow.block_min = 512;
  const Converted done =
      converter.run(dir / "in", dir / "out", make_request("qcow2", R"({"format":"raw"})"), slow);
  ASSERT_EQ(done.status, HYPER_OK) << done.said;
  EXPECT_TRUE(slurp(dir / "out") == slurp(dir / "disk.raw"));
}

TEST_F(Convert, CancelStopsEveryWorker) {
  make_disk(dir / "disk.raw", 200 << 20, 60 << 20, 21);
  TestConverter converter({.threads = 2});
  hyper_op op;
  std::chrono::steady_clock::time_point asked;
  op.on_progress = [&](uint64_t done) {
    if (done > (20 << 20) && !op.cancelled) {
      asked = std::chrono::steady_clock::now();
      op.cancel();
    }
  };
  const Converted done =
      converter.run(dir / "disk.raw", dir / "out",
                    make_request("raw", R"({"format":"qcow2","compression":"zlib"})"), {}, {}, &op);
  EXPECT_EQ(done.status, HYPER_CANCELLED);
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(2));
  EXPECT_FALSE(op.went_back);
}

TEST_F(Convert, ProgressReachesTheDisksSizeAndNeverGoesBack) {
  make_disk(dir / "disk.raw", (50 << 20) + 512, 10 << 20, 22);
  TestConverter converter({.threads = 4});
  hyper_op op;
  ASSERT_EQ(converter
                .run(dir / "disk.raw", dir / "out", make_request("raw", R"({"format":"qcow2"})"),
                     {}, {}, &op)
                .status,
            HYPER_OK);
  EXPECT_EQ(op.done, (50u << 20) + 512);
  EXPECT_EQ(op.total, op.done);
  EXPECT_FALSE(op.went_back);
  EXPECT_FALSE(op.exceeded);
}

TEST_F(Convert, FailuresOfSourceAndSinkEndTheConversionWithTheirOwnStatus) {
  make_disk(dir / "disk.raw", 100 << 20, 60 << 20, 23);
  TestConverter converter({.threads = 4});
  SourceOptions failing;
  failing.flags = HYPER_SOURCE_SEEK;
  failing.fail_at = 40 << 20;
  const json job = make_request("raw", R"({"format":"qcow2"})");
  const Converted source = converter.run(dir / "disk.raw", dir / "out", job, failing);
  EXPECT_EQ(source.status, HYPER_IO) << source.said;
  failing.flags = HYPER_SOURCE_STREAM;
  failing.format = "raw";
  const Converted stream = converter.run(dir / "disk.raw", dir / "out", job, failing);
  EXPECT_EQ(stream.status, HYPER_IO) << stream.said;
  SinkOptions full;
  full.fail_at = 10 << 20;
  const Converted sink = converter.run(dir / "disk.raw", dir / "out", job, {}, full);
  EXPECT_EQ(sink.status, HYPER_NOSPACE) << sink.said;
}

TEST_F(Convert, AnotherSizeThanTheVmSaysIsCorrupt) {
  make_disk(dir / "disk.raw", 1 << 20, 0, 24);
  TestConverter converter;
  json job = make_request("raw", R"({"format":"qcow2"})");
  job["virtual_size"] = 2 << 20;
  EXPECT_EQ(converter.run(dir / "disk.raw", dir / "out", job).status, HYPER_CORRUPT);
}

TEST_F(Convert, PlanSaysWhatIsNeededAndNamesTheAlternative) {
  TestConverter converter;
  const Converted vmdk = converter.plan(make_request("vmdk", R"({"format":"qcow2"})"));
  ASSERT_EQ(vmdk.status, HYPER_OK) << vmdk.said;
  EXPECT_EQ(vmdk.result["source"], "stream");
  EXPECT_EQ(vmdk.result["sink"][0], "random");
  EXPECT_EQ(vmdk.result["digest"], true);
  EXPECT_EQ(converter.plan(make_request("qcow2", R"({"format":"raw"})")).result["source"], "seek");
  for (const char* target :
       {R"({"format":"vhdx"})", R"({"format":"vmdk","subformat":"monolithicSparse"})",
        R"({"format":"qcow2","cluster_size":1000})", R"({"format":"raw","compression":"zlib"})"}) {
    const Converted refused = converter.plan(make_request("raw", target));
    EXPECT_EQ(refused.status, HYPER_UNSUPPORTED) << target;
  }
  json stream = make_request("qcow2", R"({"format":"raw"})");
  stream["source"]["access"].push_back("stream");
  EXPECT_EQ(converter.plan(stream).status, HYPER_UNSUPPORTED);
}

}  // namespace
}  // namespace hyper::test
