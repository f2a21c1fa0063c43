// SPDX-License-Identifier: Apache-2.0
// Ends the appliance when the operation is cancelled, its time is over, or it makes no progress
// while it starts. libguestfs locks its handle during a call, so that this kills the QEMU process,
// which makes the call fail. Only the owner calls; a thread of its own watches.
#ifndef HYPERHOST_GUESTFS_WATCHDOG_HPP
#define HYPERHOST_GUESTFS_WATCHDOG_HPP

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <hyper/op.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace hyperhost::guestfs {

class Watchdog {
 public:
  enum class Reason { kNone, kCancelled, kTimeout, kStalled };

  /// marks: one of them is in the command line of the QEMU process that this may kill, a child of
  /// ours.
  Watchdog(hyper::Op op, std::vector<std::string> marks, std::chrono::seconds timeout);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// From now on the appliance must show a sign of life at least every `limit`; 0 = it need not.
  void expect_life(std::chrono::seconds limit);
  void alive() { last_life_ = std::chrono::steady_clock::now().time_since_epoch().count(); }
  /// Why the appliance was killed. Starts afresh with reset().
  Reason reason() const { return reason_; }
  void reset() { reason_ = Reason::kNone; }

 private:
  void watch();
  Reason due() const;

  hyper::Op op_;
  const std::vector<std::string> marks_;
  const std::chrono::steady_clock::time_point end_;
  std::atomic<std::chrono::steady_clock::rep> last_life_{0};
  std::atomic<std::chrono::steady_clock::rep> limit_{0};
  std::atomic<Reason> reason_{Reason::kNone};
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace hyperhost::guestfs

#endif
