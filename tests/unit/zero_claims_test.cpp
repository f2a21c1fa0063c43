// SPDX-License-Identifier: Apache-2.0
// The sample of what a source calls zero: where it looks, what it finds, and that it keeps to the
// source's rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/disk/zero_claims.hpp"

namespace hyperhost {
namespace {

using ::testing::HasSubstr;
constexpr uint64_t kMiB = 1u << 20, kGiB = uint64_t{1} << 30;

/// Calls `zero` ranges zero and reads as zero but for one byte.
struct Claiming final : hyper::Source {
  std::vector<std::pair<uint64_t, uint64_t>> zero;  // ascending
  uint64_t length = 0, lie = UINT64_MAX;
  uint32_t block = 1, most = 0;
  uint64_t* reads = nullptr;
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits out;
    out.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    out.length = length;
    out.block_min = block;
    out.block_max = most;
    return out;
  }
  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t size) override {
    ++*reads;
    if (offset % block != 0 || (size % block != 0 && offset + size != length) ||
        (most != 0 && size > most))
      throw hyper::Error(HYPER_FAIL, "an unaligned read");
    std::fill_n(static_cast<char*>(buffer), size, '\0');
    if (lie >= offset && lie - offset < size) static_cast<char*>(buffer)[lie - offset] = 1;
  }
  void extents(hyper::Op, uint64_t offset, uint64_t size, const hyper::EmitExtent& emit) override {
    for (uint64_t at = offset, end = offset + size; at < end;) {
      uint64_t stop = end;
      bool in = false;
      for (const auto& [from, to] : zero) {
        if (at >= from && at < to) in = true, stop = std::min(stop, to);
        if (from > at) stop = std::min(stop, from);
      }
      emit(at, stop - at, in ? HYPER_EXTENT_ZERO : 0u);
      at = stop;
    }
  }
};

class Claims : public ::testing::Test {
 protected:
  Claims() { source_->reads = &reads_; }
  ZeroClaims check(uint64_t seed = 1) {
    SourceHandle handle;
    auto copy = std::make_unique<Claiming>(*source_);
    hyper::export_source(std::move(copy), handle.out());
    Operation op("test", CancelSource::create());
    return check_zero_claims(handle, "provider 'acme'", seed, op);
  }
  std::unique_ptr<Claiming> source_ = std::make_unique<Claiming>();
  uint64_t reads_ = 0;
};

TEST_F(Claims, AtLeast64PlacesOfALargeDiskAreRead) {
  source_->length = 3 * kGiB;
  source_->zero = {{kMiB, 3 * kGiB}};
  const ZeroClaims found = check();
  EXPECT_EQ(found.bytes, 3 * kGiB - kMiB);
  EXPECT_GE(found.places, 64u);
  EXPECT_EQ(found.places, reads_);
}

TEST_F(Claims, ASmallClaimIsReadWhole) {
  source_->length = 10 * kMiB;
  source_->zero = {{kMiB, kMiB + 70'000}};
  for (const uint64_t lie : {kMiB, kMiB + 69'999}) {
    source_->lie = lie;
    try {
      check();
      ADD_FAILURE() << "byte " << lie << " was not found";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr("provider 'acme' says that bytes 1048576 to 1118575 are "
                                          "zero, and byte " +
                                          std::to_string(lie) + " is not"));
    }
  }
  source_->lie = kMiB - 1;  // beside it
  EXPECT_EQ(check().bytes, 70'000u);
}

TEST_F(Claims, TheEdgesOfThirtyOneAndThirtyTwoBitsAreReadWhateverTheSeed) {
  source_->length = 64 * kGiB;
  source_->zero = {{kMiB, 64 * kGiB}};
  for (const uint64_t edge : {2 * kGiB, 4 * kGiB, 64 * kGiB - 1})
    for (uint64_t seed = 0; seed < 5; ++seed) {
      source_->lie = edge;
      EXPECT_THROW(check(seed), Error) << edge;
    }
}

TEST_F(Claims, ReadsAreWholeBlocksAndNoLongerThanAllowed) {
  source_->length = 8 * kMiB + 512;
  source_->block = 4096;
  source_->most = 16384;
  source_->zero = {{5000, 9000}, {100'001, 7 * kMiB + 3}, {8 * kMiB, 8 * kMiB + 512}};
  EXPECT_GT(check().places, 10u);
}

TEST_F(Claims, ASourceWithoutClaimsIsNotRead) {
  source_->length = kMiB;
  EXPECT_EQ(check().places, 0u);
  EXPECT_EQ(reads_, 0u);
}

TEST(PlacePicker, PlacesAreSpreadOverTheClaimedBytesAndFollowFromTheSeed) {
  std::set<uint64_t> early, late;
  std::vector<std::vector<uint64_t>> runs;
  for (const uint64_t seed : {7u, 7u, 8u}) {
    PlacePicker picker(seed);
    for (uint64_t i = 0; i < 10'000; ++i) picker.add(2 * i * kMiB, (2 * i + 1) * kMiB);
    EXPECT_EQ(picker.bytes(), 10'000 * kMiB);
    runs.emplace_back();
    for (const auto& place : picker.places()) {
      EXPECT_GE(place.at, place.begin);
      EXPECT_LT(place.at, place.end);
      (place.at < 10'000 * kMiB ? early : late).insert(place.at);
      runs.back().push_back(place.at);
    }
    EXPECT_TRUE(std::is_sorted(runs.back().begin(), runs.back().end()));
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NE(runs[0], runs[2]);
  EXPECT_GT(early.size(), 40u);
  EXPECT_GT(late.size(), 40u);
}

}  // namespace
}  // namespace hyperhost
