// SPDX-License-Identifier: Apache-2.0
// Writes a run's events into the RunState, off the publishing threads: what has changed is put
// together and written twice a second by a thread of its own; the end of a task and of the run at
// once. A store failure is logged once and never interrupts the run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "core/events/event.hpp"
#include "core/state/run_state.hpp"
#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {

class RunRecorder final : public Observer {
 public:
  /// on_cancel: called on the recorder's thread for each task that `hyperhost cancel` names.
  /// tracker: what it shows is recorded too; outlives this; null: nothing of it.
  RunRecorder(std::shared_ptr<RunState> state, std::string plan_file,
              std::function<void(const std::string& task_id)> on_cancel,
              const ProgressTracker* tracker = nullptr);
  /// Writes what is left.
  ~RunRecorder() override;

  void on_event(const Event& event) noexcept override;

 private:
  struct Task {
    TaskRecord record;
    bool changed = false;
    std::map<std::string, StageRecord> stages;                        ///< changed ones
    std::map<std::pair<std::string, std::string>, DiskRecord> disks;  ///< changed ones
    std::map<std::string, StageRecord> running;                       ///< stages, to end them
    std::vector<AttemptRecord> attempts;
  };
  void work(const std::stop_token& stop);
  void flush(bool last);
  /// What the tracker shows, and that the process lives: at least every two seconds.
  void record_progress(RunState::Group& group, const std::string& run_id);
  void note(Task& task, const Event& event);
  void failed(const std::exception& failure) noexcept;

  const std::shared_ptr<RunState> state_;
  const std::string plan_file_;
  const std::function<void(const std::string&)> on_cancel_;
  const ProgressTracker* const tracker_;
  uint64_t recorded_ = 0;  ///< version of the tracker; the writer's, as the next
  std::chrono::steady_clock::time_point seen_{};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Task> tasks_;  ///< those with something to write, or running
  std::string run_id_;
  bool urgent_ = false;
  std::atomic<bool> said_{false};  ///< on any thread
  std::jthread writer_;
};

}  // namespace hyperhost
