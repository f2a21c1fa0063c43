// SPDX-License-Identifier: Apache-2.0
// The two clocks of a run behind one seam, so that a test decides what time it is. Owned by
// whoever runs plans, shared by what that run starts. Thread-safe.
#pragma once

#include <chrono>
#include <memory>

namespace hyperhost {

using WallClock = std::chrono::system_clock;

/// As JSON and metrics write durations.
inline double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

class HostClock {
 public:
  virtual ~HostClock() = default;
  /// The time that people read: start windows, records.
  virtual WallClock::time_point wall() const { return WallClock::now(); }
  /// Never goes back: delays and durations.
  virtual std::chrono::steady_clock::time_point steady() const {
    return std::chrono::steady_clock::now();
  }

  static std::shared_ptr<const HostClock> of_the_machine() {
    return std::make_shared<const HostClock>();
  }
};

}  // namespace hyperhost
