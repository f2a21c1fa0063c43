// SPDX-License-Identifier: Apache-2.0
// The digest's leaves, hashed two at a time where the processor gains by that (Sha256::pairs): a
// worker that comes with a block waits for the next one that does, which then hashes both. It waits
// only if another is sure to come, and not for long: a pair saves half a millisecond. One for each
// conversion, thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include <hyper/op.hpp>

#include "codec/sha256.hpp"
#include "engine/budget.hpp"

namespace hyper::disk {

/// A block of the disk to be hashed, and its hash.
struct Leaf {
  uint64_t index = 0;
  const uint8_t* data = nullptr;
  std::size_t length = 0;
  Hash256 hash{};
};

class LeafPairs {
 public:
  LeafPairs(Op op, Budget& budget) : op_(op), budget_(budget) {}

  /// A worker, and whether it is sure to come to hash(), or to be destroyed, without waiting for
  /// another one that is in hash() now. At first it is.
  class Worker {
   public:
    explicit Worker(LeafPairs& pairs);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Fills in the hashes. From now on it is not sure to come, until comes_again(). The hashing
    /// takes a Budget::Core. REQUIRES: this thread holds none.
    void hash(std::vector<Leaf>& leaves);
    /// REQUIRES: hash() was called since the last time.
    void comes_again();

   private:
    void arrive();

    LeafPairs& pairs_;
    bool coming_ = false;
  };

 private:
  enum class State : uint8_t { kWaiting, kTaken, kDone, kGivenBack };
  struct Waiting {
    Leaf& leaf;
    State state = State::kWaiting;
  };

  bool with_another(Leaf& leaf);
  void both(Leaf& first, Leaf& second);

  const Op op_;
  Budget& budget_;
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned coming_ = 0;
  Waiting* waiting_ = nullptr;
};

}  // namespace hyper::disk
