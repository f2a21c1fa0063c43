// SPDX-License-Identifier: Apache-2.0
#include "engine/leaf_pairs.hpp"

#include <chrono>

namespace hyper::disk {
namespace {
using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPatience{10};
}  // namespace

LeafPairs::Worker::Worker(LeafPairs& pairs) : pairs_(pairs) {
  comes_again();
}
LeafPairs::Worker::~Worker() {
  arrive();
}

void LeafPairs::Worker::comes_again() {
  const std::lock_guard lock(pairs_.mutex_);
  ++pairs_.coming_;
  coming_ = true;
}

void LeafPairs::Worker::arrive() {
  if (!coming_) return;
  coming_ = false;
  const std::lock_guard lock(pairs_.mutex_);
  if (--pairs_.coming_ == 0) pairs_.changed_.notify_all();
}

void LeafPairs::Worker::hash(std::vector<Leaf>& leaves) {
  arrive();
  const auto pairable = [&](std::size_t i) {
    return Sha256::pairs() && i < leaves.size() && leaves[i].length == kDigestBlock;
  };
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (pairable(i) && pairable(i + 1)) {
      pairs_.both(leaves[i], leaves[i + 1]);
      ++i;
    } else if (!pairable(i) || !pairs_.with_another(leaves[i])) {
      const Budget::Core core(pairs_.budget_, pairs_.op_);
      leaves[i].hash = Digest::leaf(leaves[i].data, leaves[i].length);
    }
  }
}

/// False: not hashed, as no partner came, or the one that came failed.
bool LeafPairs::with_another(Leaf& leaf) {
  std::unique_lock lock(mutex_);
  if (waiting_ != nullptr) {
    Waiting& other = *waiting_;
    other.state = State::kTaken;
    waiting_ = nullptr;
    lock.unlock();
    struct GiveBack {
      LeafPairs& pairs;
      Waiting& other;
      State state = State::kGivenBack;
      ~GiveBack() {
        const std::lock_guard relock(pairs.mutex_);
        other.state = state;
        pairs.changed_.notify_all();
      }
    } give_back{*this, other};
    both(other.leaf, leaf);
    give_back.state = State::kDone;
    return true;
  }
  Waiting own{leaf};
  waiting_ = &own;
  const Clock::time_point end = Clock::now() + kPatience;
  while (own.state == State::kWaiting && coming_ != 0)
    if (changed_.wait_until(lock, end) == std::cv_status::timeout) break;
  while (own.state == State::kTaken) changed_.wait(lock);
  if (own.state == State::kWaiting) waiting_ = nullptr;
  return own.state == State::kDone;
}

void LeafPairs::both(Leaf& first, Leaf& second) {
  const Budget::Core core(budget_, op_);
  const auto hashes = leaf_pair(first.data, second.data);
  first.hash = hashes[0];
  second.hash = hashes[1];
}

}  // namespace hyper::disk
