// SPDX-License-Identifier: Apache-2.0
// Conversions that break off at random bytes and go on from the last state they saved, with a sink
// that loses what was not synced: the image must be what one pass makes, byte by byte.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "convert.hpp"
#include "tests/support/file_disk.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::test {
namespace {

constexpr uint64_t kMiB = 1u << 20, kPage = 4096;

/// A disk's platter and the cache before it.
class Platter {
 public:
  std::vector<uint8_t> now, durable;
  uint64_t written = 0, unsynced = 0, fail_after = UINT64_MAX;
  std::mutex mutex;

  /// The power goes: every page is as it was, or as it was to become; so is the length.
  void cut(std::mt19937_64& random) {
    std::vector<uint8_t> left = random() % 2 == 0 ? durable : now;
    const uint64_t size = left.size();
    for (uint64_t at = 0; at < size; at += kPage) {
      const std::vector<uint8_t>& from = random() % 2 == 0 ? durable : now;
      const uint64_t length = std::min(kPage, size - at);
      const uint64_t begin = std::min<uint64_t>(at, from.size());
      const uint64_t there = std::min<uint64_t>(length, from.size() - begin);
      std::copy_n(from.data() + begin, there, left.data() + at);
      std::fill_n(left.data() + at + there, length - there, uint8_t{0});
    }
    now = durable = std::move(left);
  }
};

class PlatterSink : public Sink {
 public:
  explicit PlatterSink(Platter& platter) : platter_(platter) {}
  SinkTraits traits() const override {
    SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM;
    traits.max_parallel = 16;
    return traits;
  }
  void write_at(Op, uint64_t offset, const void* buf, uint64_t len) override {
    const std::lock_guard lock(platter_.mutex);
    if (platter_.written + len > platter_.fail_after)
      throw Error(HYPER_IO, "the test's disk fails here");
    if (platter_.now.size() < offset + len) platter_.now.resize(offset + len, 0);
    std::memcpy(platter_.now.data() + offset, buf, len);
    platter_.written += len;
    platter_.unsynced += len;
  }
  void zero_at(Op, uint64_t offset, uint64_t len) override {
    const std::vector<uint8_t> zeros(len, 0);
    write_at(Op(nullptr), offset, zeros.data(), len);
  }
  void sync(Op) override {
    const std::lock_guard lock(platter_.mutex);
    platter_.durable = platter_.now;
    platter_.unsynced = 0;
  }
  std::string commit(Op, uint64_t) override { return "{}"; }

 private:
  Platter& platter_;
};

struct Saved {
  nlohmann::json state;
  uint64_t times = 0;
};
Saved* saved = nullptr;

hyper_st save(hyper_op*, uint32_t, const hyper_doc* state) noexcept {
  saved->state = state->json;
  ++saved->times;
  return HYPER_OK;
}

struct Case {
  const char* name;
  const char* target;
  bool stream;
};

class DiskResume : public testing::TestWithParam<Case> {
 protected:
  DiskResume() {
    TestHost::extensions() = [](const char* id) -> const void* {
      static const hyper_checkpoint table = {sizeof(hyper_checkpoint), 0, save};
      return std::strcmp(id, HYPER_EXT_CHECKPOINT) == 0 ? &table : nullptr;
    };
    saved = &saved_;
    char name[] = "/tmp/hyperhost-resume-XXXXXX";
    directory_ = ::mkdtemp(name);
    std::mt19937_64 random(7);
    std::ofstream out(directory_ / "source.raw", std::ios::binary);
    std::vector<uint64_t> block(kMiB / 8);
    for (int i = 0; i < 24; ++i) {  // data, text, holes, and blocks with both
      const unsigned kind = static_cast<unsigned>(random() % 5);
      for (std::size_t n = 0; n < block.size(); ++n)
        block[n] = kind == 0 || (kind == 1 && n % 8192 < 4096) ? 0 : kind == 2 ? n / 64 : random();
      out.write(reinterpret_cast<const char*>(block.data()), kMiB);
    }
    out.write("the end is not whole", 20);
    out.close();
    std::filesystem::resize_file(directory_ / "source.raw", 24 * kMiB + 512 * 5);
  }
  ~DiskResume() override {
    TestHost::extensions() = nullptr;
    std::filesystem::remove_all(directory_);
  }

  /// One attempt from `state` (null: from the front).
  hyper_st attempt(Platter& platter, const nlohmann::json& state, nlohmann::json& result) {
    const auto* table = static_cast<const hyper_converter*>(Converter<disk::ParallelDisk>::table());
    const hyper_doc config{{{"threads", 3}}};
    hyper_op op;
    void* self = nullptr;
    check(table->open(&op, 0, &config, &self));
    nlohmann::json request;
    request["source"]["format"] = "raw";
    request["target"] = nlohmann::json::parse(GetParam().target);
    request["target"]["durability"] = "file";
    request["target"]["deterministic"] = true;
    request["digest"] = true;
    request["checkpoint"] = {{"interval_bytes", kInterval}, {"interval_ms", 3'600'000}};
    if (!state.is_null()) request["checkpoint"]["state"] = state;
    const hyper_doc document{request};
    SourceOptions options;
    if (GetParam().stream) options.flags = HYPER_SOURCE_STREAM;
    OwnedSource source;
    export_source(std::make_unique<FileSource>((directory_ / "source.raw").string(), options),
                  source.out());
    const OwnedSink sink(std::make_unique<PlatterSink>(platter));
    const hyper_st status = table->convert(
        self, &op, 0, &document, source.raw(), sink.raw(),
        [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
          *static_cast<nlohmann::json*>(arg) = nlohmann::json::parse(json, json + len);
          return HYPER_OK;
        },
        &result);
    table->close(self, &op);
    said_ = op.all();
    return status;
  }

  static constexpr uint64_t kInterval = 4 * kMiB;
  const TestHost host_;
  Saved saved_;
  std::filesystem::path directory_;
  std::string said_;
};

TEST_P(DiskResume, ManyPowerCutsMakeTheSameImageAsOnePass) {
  Platter whole;
  nlohmann::json wanted;
  ASSERT_EQ(HYPER_OK, attempt(whole, nullptr, wanted)) << said_;
  EXPECT_GT(saved_.times, 2u);
  whole.now.resize(wanted["bytes_written"].get<uint64_t>(), 0);
  EXPECT_FALSE(wanted.contains("resumed_bytes"));

  std::mt19937_64 random(11);
  uint64_t all_cuts = 0, resumed = 0;
  for (int round = 0; round < 2; ++round) {
    Platter platter;
    saved_ = {};
    nlohmann::json result;
    uint64_t cuts = 0;
    for (;; ++cuts) {
      ASSERT_LT(cuts, 200u) << "it does not come to an end";
      platter.written = 0;
      // More with each cut, so that it comes to its end whatever the workers hold.
      platter.fail_after = kInterval + random() % kInterval + cuts * (kInterval / 16);
      const hyper_st status = attempt(platter, saved_.state, result);
      if (status == HYPER_OK) break;
      ASSERT_EQ(HYPER_IO, status) << said_;
      // Lost: at most the interval, and what three workers and two spare ones hold.
      EXPECT_LE(platter.unsynced, kInterval + 5 * 2 * kMiB);
      platter.cut(random);
      platter.unsynced = 0;
      const uint64_t length = saved_.state.is_null() ? 0 : saved_.state["length"].get<uint64_t>();
      platter.now.resize(std::min<uint64_t>(platter.now.size(), length));  // as the storage cuts it
      platter.durable = platter.now;
    }
    all_cuts += cuts;
    resumed += result.value("resumed_bytes", uint64_t{0});
    platter.now.resize(result["bytes_written"].get<uint64_t>(), 0);
    EXPECT_EQ(wanted["digest"], result["digest"]);
    ASSERT_EQ(whole.now.size(), platter.now.size());
    EXPECT_TRUE(whole.now == platter.now) << "round " << round << " after " << cuts << " cuts";
  }
  EXPECT_GT(all_cuts, 2u);
  EXPECT_GT(resumed, 0u);
}

TEST_P(DiskResume, AStateThatDoesNotFitIsRefusedBeforeAnythingIsWritten) {
  Platter platter;
  nlohmann::json result;
  ASSERT_EQ(HYPER_OK, attempt(platter, nullptr, result));
  const nlohmann::json good = saved_.state;
  std::vector<nlohmann::json> bad{nlohmann::json::object(), good, good, good, good};
  bad[1]["guest"] = good["guest"].get<uint64_t>() + 1;
  bad[2]["guest"] = uint64_t{1} << 50;
  bad[3]["digest"] = "AAAA";
  bad[4]["kind"] = "another/1";
  for (const nlohmann::json& state : bad) {
    Platter fresh;
    EXPECT_EQ(HYPER_UNSUPPORTED, attempt(fresh, state, result)) << state["kind"];
    EXPECT_EQ(0u, fresh.written);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, DiskResume,
    testing::Values(
        Case{"raw", R"({"format": "raw"})", false},
        Case{"raw_stream", R"({"format": "raw"})", true},
        Case{"qcow2", R"({"format": "qcow2"})", false},
        Case{"qcow2_4k", R"({"format": "qcow2", "cluster_size": 4096})", false},
        Case{"qcow2_zlib", R"({"format": "qcow2", "compression": "zlib", "compression_level": 1})",
             false},
        Case{"qcow2_zstd_stream",
             R"({"format": "qcow2", "compression": "zstd", "compression_level": 1})", true},
        Case{
            "qcow2_zstd_2m",
            R"({"format": "qcow2", "compression": "zstd", "compression_level": 1, "cluster_size": 2097152})",
            false},
        Case{"vhd_fixed", R"({"format": "vhd", "subformat": "fixed"})", false}),
    [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace hyper::test
