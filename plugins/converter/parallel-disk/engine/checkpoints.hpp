// SPDX-License-Identifier: Apache-2.0
// When a conversion's state is saved, and in which order things become durable:
//
//   1. At the turn of batch N, before it is placed, the writer's tables and the digest are
//      described: a state in which all batches before N are placed and none after.
//   2. The pipeline goes on. Once every batch before N is stored, the sink is synced.
//   3. Only then is the description saved.
//
// So a saved state never speaks of bytes that a power cut could still take. What was written
// behind it is cut off or written again by the conversion that goes on from it.
//
// One state is under way at a time. A state is due after half the interval: at any moment the last
// saved one is at most one interval of written bytes behind, and what is in flight. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include <hyper/op.hpp>

namespace hyper::disk {

/// Where a conversion stands.
struct Position {
  uint64_t guest = 0;   ///< all before it is in the image
  uint64_t length = 0;  ///< of the image so far
  std::vector<uint8_t> writer, digest;
};

struct CheckpointPlan {
  uint64_t interval_bytes = 0;  ///< 0 = never
  std::chrono::milliseconds interval{0};
  std::function<void(Op)> sync;
  /// False: it was not kept; no more of them are made.
  std::function<bool(Op, const Position&)> save;
};

class Checkpoints {
 public:
  explicit Checkpoints(const CheckpointPlan& plan);

  /// Whether batch `number`, whose turn it is, is the place for a state. May wait for the one that
  /// is under way.
  bool due(Op op, uint64_t number);
  /// The state before batch `number`.
  void begin(uint64_t number, Position position);
  /// Batch `number` was placed with so many bytes to write; in the order of the batches.
  void placed(uint64_t bytes) { unsaved_ += bytes; }
  /// All of its bytes are with the sink. Syncs and saves where that was the last one missing.
  void stored(Op op, uint64_t number);
  /// The conversion has failed: all waits end.
  void abandon() noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  CheckpointPlan plan_;
  uint64_t unsaved_ = 0;  // of the thread whose turn it is
  Clock::time_point last_ = Clock::now();

  std::mutex mutex_;
  std::condition_variable saved_;
  std::set<uint64_t> early_;  // stored, but not all before them
  uint64_t all_before_ = 0;
  std::optional<std::pair<uint64_t, Position>> pending_;
  bool saving_ = false, given_up_ = false;
};

}  // namespace hyper::disk
