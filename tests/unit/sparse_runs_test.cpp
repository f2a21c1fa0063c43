// SPDX-License-Identifier: Apache-2.0
// hyper::SparseRuns over a made-up file: what it answers, and how often it asks.
#include <gtest/gtest.h>

#include <hyper/sparse_runs.hpp>

namespace {

constexpr uint64_t kMiB = 1u << 20;

/// Data in the even and holes in the odd GiB, as lseek would tell it.
struct File {
  uint64_t length = 8 << 10;  // MiB
  int calls = 0;
  bool silent = false;  // a file system that cannot say
  std::optional<uint64_t> operator()(uint64_t offset, bool want_data) {
    ++calls;
    if (silent) return std::nullopt;
    const uint64_t run = offset / (kMiB << 10);
    const bool is_data = run % 2 == 0;
    const uint64_t next = is_data == want_data ? offset : (run + 1) * (kMiB << 10);
    return std::min(next, length * kMiB);
  }
};

TEST(SparseRuns, AnswersDataAndHoles) {
  File file;
  hyper::SparseRuns runs;
  const auto seek = [&](uint64_t at, bool data) { return file(at, data); };
  const auto data = runs.at(5, file.length * kMiB, seek);
  EXPECT_TRUE(data.data);
  EXPECT_EQ(data.end, kMiB << 10);
  const auto hole = runs.at((kMiB << 10) + 7, file.length * kMiB, seek);
  EXPECT_FALSE(hole.data);
  EXPECT_EQ(hole.end, kMiB << 11);
}

TEST(SparseRuns, AScanInWindowsAsksOnceARun) {
  File file;
  hyper::SparseRuns runs;
  for (uint64_t at = 0; at < file.length; ++at)
    runs.at(at * kMiB, file.length * kMiB, [&](uint64_t o, bool data) { return file(o, data); });
  EXPECT_LE(file.calls, 2 * 8);
}

TEST(SparseRuns, WithoutAnAnswerAllIsData) {
  File file;
  file.silent = true;
  hyper::SparseRuns runs;
  const auto run =
      runs.at(3 * kMiB, file.length * kMiB, [&](uint64_t o, bool data) { return file(o, data); });
  EXPECT_TRUE(run.data);
  EXPECT_EQ(run.end, file.length * kMiB);
}

}  // namespace
