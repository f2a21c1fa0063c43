// SPDX-License-Identifier: Apache-2.0
// RunProgress computes the figures of a whole run once, for every display: how many VMs are in
// which state, how much is to be moved, the share that is done, the time left. Owned by the
// ProgressTracker, which calls it under its lock; a RunFrame is a value.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/events/event.hpp"

namespace hyperhost {

struct TaskProgress;

/// Seconds. low and high are apart where the estimate is uncertain.
struct TimeLeft {
  double low = 0, likely = 0, high = 0;
  bool certain() const { return high <= low * 1.25 + 1; }
};

struct RunFrame {
  std::string run_id, plan, user, host;
  WallClock::time_point start_time;
  std::optional<WallClock::time_point> end_time;
  double elapsed_seconds = 0;
  std::size_t total = 0, waiting = 0, running = 0;
  std::size_t completed = 0, failed = 0, cancelled = 0, skipped = 0;
  uint64_t guest_bytes = 0;    ///< of the VMs whose size is known: "at least" while others are not
  std::size_t unmeasured = 0;  ///< VMs whose size is not known yet
  uint64_t move_bytes = 0, moved_bytes = 0;  ///< what had to be moved, and what was
  std::optional<double> percentage;  ///< moved of move_bytes; nothing while a size is not known
  double rate = 0;                   ///< bytes that all VMs move a second
  std::optional<TimeLeft> left;      ///< nothing where nothing can be said
  std::vector<std::string> limits;   ///< which slow the run down now, for people

  bool size_known() const { return unmeasured == 0; }
};

/// The run's object in the API, in the state database and in --progress json.
nlohmann::json run_progress_json(const RunFrame& run);

class RunProgress {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  void begin(const event::RunStarted& run, WallClock::time_point time, Instant now);
  void end(WallClock::time_point time, Instant now);
  const std::string& run_id() const { return about_.run_id; }

  /// Time passed with so many VMs running. Before each change and each frame.
  void pass(Instant now, std::size_t running);
  /// So many bytes that had to be moved were moved since the last call.
  void moved(double bytes);

  /// tasks: all of the run, in its order, as they are now. After pass(now).
  RunFrame frame(const std::vector<TaskProgress>& tasks, WallClock::time_point wall,
                 Instant now) const;

 private:
  /// What had happened at a point of the run. Time counts only while a VM runs.
  struct Sample {
    double seconds = 0;     ///< with at least one VM running
    double vm_seconds = 0;  ///< the sum over all VMs
    double bytes = 0;
  };
  double gain() const;
  /// Of the last `seconds`.
  Sample window(double seconds) const;
  std::optional<TimeLeft> left(const std::vector<TaskProgress>& tasks,
                               WallClock::time_point wall) const;

  RunFrame about_;
  std::optional<Instant> began_, ended_, passed_;
  Sample now_, sampled_;  ///< sampled_: the newest of samples_
  std::deque<Sample> samples_;
  std::map<std::size_t, Sample> by_running_;  ///< by the number of VMs that ran
};

}  // namespace hyperhost
