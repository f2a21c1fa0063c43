// SPDX-License-Identifier: Apache-2.0
// Cancellation that reaches every wait: a flag and a descriptor that becomes readable. Sources
// form a tree: cancelling a run cancels its VMs, cancelling a VM its disks. Thread-safe;
// cancel() may also be called from a signal handler's self-pipe reader, not from the handler.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

namespace hyperhost {

class CancelSource : public std::enable_shared_from_this<CancelSource> {
 public:
  static std::shared_ptr<CancelSource> create();
  /// Cancels itself when the time is over, by no thread: its children do not hear of that.
  static std::shared_ptr<CancelSource> after(std::chrono::milliseconds time);
  /// A source that is cancelled with this one, or alone.
  std::shared_ptr<CancelSource> child();
  ~CancelSource();
  CancelSource(const CancelSource&) = delete;
  CancelSource& operator=(const CancelSource&) = delete;

  void cancel();
  bool cancelled() const {
    return cancelled_.load(std::memory_order_acquire) ||
           (deadline_ != Clock::time_point::max() && Clock::now() >= deadline_);
  }
  /// Readable for ever once cancelled. Owned by this object.
  int fd() const { return fd_; }
  /// False when cancelled before the time was over.
  bool wait_for(std::chrono::nanoseconds duration) const;
  /// Throws Error(kCancelled) once cancelled.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;
  explicit CancelSource(int fd);
  std::atomic<bool> cancelled_{false};
  const int fd_;  // an event; a timer where there is a deadline
  Clock::time_point deadline_ = Clock::time_point::max();
  std::mutex mutex_;
  std::vector<std::weak_ptr<CancelSource>> children_;
};

}  // namespace hyperhost
