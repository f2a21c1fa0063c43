// SPDX-License-Identifier: Apache-2.0
// How fast a run may send: a limit of the whole and one of each VM, changed while it runs. Plugins
// ask through the extension hyper.throttle/1. And how fast it may read from its providers, which
// throttled_source.hpp sees to. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/base/cancel.hpp"

namespace hyperhost {

/// A bucket of tokens, one a byte. A caller that finds tokens may overdraw; later callers wait
/// until the debt is repaid at the current rate.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;
  void set(uint64_t bytes_per_second);  ///< 0 = no limit
  uint64_t rate() const;
  /// Takes what may be sent now; else returns how long to wait before asking again.
  std::chrono::nanoseconds try_take(uint64_t bytes, Clock::time_point now);
  /// Waits. False when cancelled.
  bool take(uint64_t bytes, const CancelSource& cancel);
  /// It makes a caller wait, or made one wait within the last second.
  bool slows(Clock::time_point now) const;

 private:
  mutable std::mutex mutex_;
  uint64_t rate_ = 0;
  double tokens_ = 0;
  Clock::time_point filled_{}, waited_until_{};
};

/// The limits of one run.
class Bandwidth {
 public:
  RateLimit& whole() { return whole_; }
  /// Of what the providers' disks deliver, all together.
  RateLimit& sources() { return sources_; }
  /// The VM's own; made with that limit where there is none yet.
  std::shared_ptr<RateLimit> of_task(const std::string& task_id, uint64_t bytes_per_second);
  /// Null where no such task sends.
  std::shared_ptr<RateLimit> find(const std::string& task_id) const;
  void forget(const std::string& task_id);
  /// The limits of all tasks that send.
  std::map<std::string, uint64_t> tasks() const;

 private:
  RateLimit whole_, sources_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<RateLimit>> tasks_;
};

/// What an operation that sends is held to.
struct SendLimits {
  std::shared_ptr<Bandwidth> whole;
  std::shared_ptr<RateLimit> own;
};

}  // namespace hyperhost
