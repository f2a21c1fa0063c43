// SPDX-License-Identifier: Apache-2.0
// Checks the files behind a source against the package's manifest while the source is read: in a
// thread of its own over the same bytes (the page cache is shared, so the disk is read once), or
// inline over a stream that passes in order. What is still missing at the end is read by finish().
//
// Owned by one source. start(), feed() and finish() may be called from different threads; feed()
// and finish() one at a time. The destructor stops and joins.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <hyper/op.hpp>

#include "digest.hpp"
#include "file.hpp"

namespace hyper::ovf {

/// What to check.
struct CheckPlan {
  Range main;    ///< the source's own bytes, in order
  Range extras;  ///< further files read together with it: extents of a VMDK descriptor
  std::vector<std::optional<Expected>> expected;  ///< per piece of main, then of extras
  std::string manifest;                           ///< its name, for messages
  bool total = true;                              ///< also compute the SHA-256 of main as a whole
};

struct CheckOutcome {
  std::string sha256;    ///< of main; "" if not computed
  std::string verified;  ///< what was compared, for people; "" if nothing
};

class Checker {
 public:
  explicit Checker(CheckPlan plan);
  ~Checker();

  /// Starts the thread, unless bytes are being fed. Idempotent, cheap.
  void start();
  /// The next bytes of main, where no thread runs; ignored where one does.
  void feed(const void* data, std::size_t len);
  /// Completes the work and throws HYPER_CORRUPT naming the first file that differs. Stops waiting
  /// when the operation is cancelled.
  CheckOutcome finish(Op op);

 private:
  class Hashing;
  void run(const std::stop_token& stop);

  CheckPlan plan_;
  std::unique_ptr<Hashing> hashing_;  // the thread's while it runs
  enum class Mode { kIdle, kFed, kThread };
  std::mutex mutex_;
  std::condition_variable done_changed_;
  Mode mode_ = Mode::kIdle;
  std::atomic<bool> settled_{false};  // mode_ no longer changes
  bool done_ = false;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: joined before the rest goes
};

}  // namespace hyper::ovf
