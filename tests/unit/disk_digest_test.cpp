// SPDX-License-Identifier: Apache-2.0
// The digest's leaves, two at a time: against OpenSSL, and with workers that come, wait, fail and
// stop.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <atomic>
#include <random>
#include <thread>

#include "engine/leaf_pairs.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::disk {
namespace {

std::vector<uint8_t> noise(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> out(size);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

Hash256 by_openssl(uint8_t prefix, const uint8_t* data, std::size_t length) {
  std::vector<uint8_t> all(1, prefix);
  all.insert(all.end(), data, data + length);
  Hash256 out;
  EXPECT_EQ(EVP_Digest(all.data(), all.size(), out.data(), nullptr, EVP_sha256(), nullptr), 1);
  return out;
}

TEST(DiskDigest, PairsAreWhatOpenSslSays) {
  const std::vector<uint8_t> data = noise(kDigestBlock + 1024, 1);
  std::vector<std::size_t> lengths{kDigestBlock, kDigestBlock - 1, kDigestBlock + 1};
  for (std::size_t length = 63; length <= 400; ++length) lengths.push_back(length);
  for (const std::size_t length : lengths) {
    const uint8_t* first = data.data() + length % 7;
    const uint8_t* second = data.data() + 100 + length % 13;
    const auto prefix = static_cast<uint8_t>(length);
    const auto pair = Sha256::pair(prefix, first, second, length);
    ASSERT_EQ(pair[0], by_openssl(prefix, first, length)) << length;
    ASSERT_EQ(pair[1], by_openssl(prefix, second, length)) << length;
  }
  const auto leaves = leaf_pair(data.data(), data.data() + 512);
  EXPECT_EQ(leaves[0], Digest::leaf(data.data(), kDigestBlock));
  EXPECT_EQ(leaves[1], Digest::leaf(data.data() + 512, kDigestBlock));
}

struct Fixture {
  test::TestHost host;
  hyper_op op;
  Budget budget{2, 2, 64u << 20};
  LeafPairs pairs{Op(&op), budget};
};

/// What a worker brings: nothing, one block, two, or one and a short end.
std::vector<Leaf> some_leaves(const std::vector<uint8_t>& data, unsigned kind) {
  std::vector<Leaf> leaves;
  if (kind >= 1) leaves.push_back({0, data.data() + kind, kDigestBlock, {}});
  if (kind == 2) leaves.push_back({1, data.data() + 9, kDigestBlock, {}});
  if (kind == 3) leaves.push_back({1, data.data() + 7, 1000, {}});
  return leaves;
}

TEST(DiskDigest, EveryWorkerGetsItsOwnHashesWhoeverComes) {
  Fixture fixture;
  const std::vector<uint8_t> data = noise(kDigestBlock + 64, 2);
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> workers;
    for (unsigned number = 0; number < 5; ++number)
      workers.emplace_back([&, number] {
        std::mt19937 random(number);
        LeafPairs::Worker worker(fixture.pairs);
        for (int round = 0; round < 40; ++round) {
          if (round != 0) worker.comes_again();
          std::vector<Leaf> leaves = some_leaves(data, random() % 4);
          worker.hash(leaves);
          for (const Leaf& leaf : leaves)
            if (leaf.hash != by_openssl(0, leaf.data, leaf.length)) ++wrong;
        }
      });
  }
  EXPECT_EQ(wrong, 0);
}

// The only other one leaves without a block: nothing waits for it.
TEST(DiskDigest, AWaitEndsWithTheLastThatCouldCome) {
  Fixture fixture;
  const std::vector<uint8_t> data = noise(kDigestBlock, 3);
  auto other = std::make_unique<LeafPairs::Worker>(fixture.pairs);
  std::vector<Leaf> leaves{{0, data.data(), kDigestBlock, {}}};
  std::jthread waits([&] {
    LeafPairs::Worker worker(fixture.pairs);
    worker.hash(leaves);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  other.reset();
  waits.join();
  EXPECT_EQ(leaves[0].hash, by_openssl(0, data.data(), kDigestBlock));
}

TEST(DiskDigest, NobodyIsWaitedForLong) {
  Fixture fixture;
  const std::vector<uint8_t> data = noise(kDigestBlock, 4);
  const LeafPairs::Worker never(fixture.pairs);
  std::vector<Leaf> leaves{{0, data.data(), kDigestBlock, {}}};
  LeafPairs::Worker worker(fixture.pairs);
  worker.hash(leaves);
  EXPECT_EQ(leaves[0].hash, by_openssl(0, data.data(), kDigestBlock));
}

// Cancelled, the one that would hash both gets no core, and the one that waits is given its block
// back.
TEST(DiskDigest, ACancelledPartnerLeavesNobodyWaiting) {
  Fixture fixture;
  const std::vector<uint8_t> data = noise(kDigestBlock, 5);
  std::atomic<int> cancelled{0};
  {
    const LeafPairs::Worker coming(fixture.pairs);  // so that the first of the four waits
    const Budget::Core one(fixture.budget, Op(&fixture.op)), two(fixture.budget, Op(&fixture.op));
    std::vector<std::jthread> workers;
    for (int number = 0; number < 4; ++number)
      workers.emplace_back([&] {
        std::vector<Leaf> leaves{{0, data.data(), kDigestBlock, {}}};
        try {
          LeafPairs::Worker worker(fixture.pairs);
          worker.hash(leaves);
        } catch (const Reported& error) {
          cancelled += error.status() == HYPER_CANCELLED ? 1 : 0;
        }
      });
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    fixture.op.cancel();
  }
  EXPECT_EQ(cancelled, 4);
}

}  // namespace
}  // namespace hyper::disk
