// SPDX-License-Identifier: Apache-2.0
// A run for programs (--progress json): one JSON object a line. Each has `time` and `event`; those
// of a task also `task_id` and `vm_name`. How far a task is comes at most once a second as
// {"event": "progress", "task": …}, the object that the progress API serves. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "core/events/event.hpp"
#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {

class RunEvents final : public Observer {
 public:
  /// The tracker must get each event before this does; both must outlive it.
  RunEvents(const ProgressTracker& tracker, std::function<void(std::string)> print)
      : tracker_(tracker), print_(std::move(print)) {}

  void on_event(const Event& event) noexcept override;

 private:
  void progress(const Event& event, bool now);

  const ProgressTracker& tracker_;
  const std::function<void(std::string)> print_;
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> last_;  ///< by task
};

}  // namespace hyperhost
