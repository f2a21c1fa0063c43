// SPDX-License-Identifier: Apache-2.0
// How fast a byte count grows: now (exponentially weighted, so that it settles within seconds and
// falls to zero when nothing comes) and on average. Not thread-safe; owned by one tracker entry.
#pragma once

#include <chrono>
#include <cstdint>

namespace hyperhost {

class ByteRate {
 public:
  using Clock = std::chrono::steady_clock;

  /// `settle`: the time after which a new speed makes up 63 % of current().
  explicit ByteRate(std::chrono::duration<double> settle = std::chrono::seconds(4))
      : settle_(settle) {}

  /// The count is now `total`. A smaller count than before (a retried disk) restarts from there.
  void sample(double total, Clock::time_point now);
  /// Bytes per second; decays once samples stop coming.
  double current(Clock::time_point now) const;
  /// Bytes per second since the first sample.
  double average(Clock::time_point now) const;

 private:
  std::chrono::duration<double> settle_;
  bool started_ = false;
  Clock::time_point first_, last_;
  double moved_ = 0, last_total_ = 0, rate_ = 0;
  double weight_ = 0;  // of all samples in rate_, which begins at a zero that was never measured
};

}  // namespace hyperhost
