// SPDX-License-Identifier: Apache-2.0
// ProgressTracker keeps what each migration is doing and how far it is; the progress API, the
// dashboard and the terminal read it. It is an Observer: publishers only touch numbers under a
// short lock, readers take snapshots and render them on their own time. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/events/event.hpp"

namespace hyperhost {

enum class TaskStatus { kPending, kRunning, kCompleted, kFailed, kCancelled, kSkipped };
/// Completed, failed, cancelled or skipped.
bool is_final(TaskStatus status);

/// One stage of a task, or one disk in a stage.
struct StepProgress {
  Stage stage = Stage::kExport;
  std::string disk_id;  ///< empty for a whole stage
  enum class Status { kRunning, kCompleted, kFailed } status = Status::kRunning;
  WallClock::time_point start_time;
  std::optional<WallClock::time_point> end_time;
  uint64_t bytes_total = 0, bytes_done = 0;  ///< total 0 = not known
  double percentage = 0;                     ///< never falls; 100 only once completed
  double rate = 0, average_rate = 0;         ///< bytes per second
  std::optional<double> eta_seconds;
  std::string message;
};

struct TaskProgress {
  std::shared_ptr<const TaskInfo> info;
  TaskStatus status = TaskStatus::kPending;
  std::string doing;  ///< while kRunning: "exporting", "converting" …
  WallClock::time_point start_time, updated_time;
  std::optional<WallClock::time_point> end_time;
  std::string current_stage;   ///< its name; "" before the first
  std::vector<Stage> planned;  ///< the stages this task goes through
  uint64_t guest_bytes = 0;
  double percentage = 0;  ///< of completed bytes over all stages; never falls, 100 only at the end
  double rate = 0, average_rate = 0;  ///< bytes/s of the conversion while it runs
                                      ///< and at the end, else of the current stage
  std::optional<double> eta_seconds;
  std::vector<StepProgress> stages;  ///< in the order they began
  std::vector<StepProgress> disks;   ///< one per disk and stage, in the order they began
  std::string error;
  std::vector<std::string> warnings;  ///< the newest hundred
  uint64_t warnings_dropped = 0, retries = 0;
  std::string manifest_path;
  uint64_t files = 0;
  uint64_t version = 0;  ///< of the tracker when this task last changed
};

/// "pending", then what it does ("exporting" …), then "completed", "failed", "cancelled" or
/// "skipped".
std::string task_status_name(const TaskProgress& task);

/// The seed's members (docs of the progress API) and, beyond them: rate, average_rate, eta,
/// stages[], disks[], end_time of stages.
nlohmann::json progress_json(const TaskProgress& task);

class ProgressTracker final : public Observer {
 public:
  struct Options {
    size_t keep_finished = 256;  ///< finished tasks remembered; the oldest go first
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  ProgressTracker();
  explicit ProgressTracker(Options options);
  ~ProgressTracker() override;

  void on_event(const Event& event) noexcept override;

  std::optional<TaskProgress> get_progress(const std::string& task_id) const;
  /// All tasks, in the order they became known.
  std::vector<TaskProgress> list() const;
  /// The tasks that changed after `version`, in the order of their change.
  std::vector<TaskProgress> changed_since(uint64_t version) const;
  /// Grows with every change.
  uint64_t version() const;

 private:
  struct Step;
  struct Task;
  using Now = std::chrono::steady_clock::time_point;

  Task& find_or_add(const Event& event);
  void begin_run(const event::RunStarted& run, WallClock::time_point time);
  void end_run(const event::RunFinished& run, WallClock::time_point time);
  void apply(Task& task, const Event& event, Now now);
  void recompute(Task& task, Now now);
  void forget_old_tasks();
  TaskProgress snapshot(const Task& task, Now now) const;

  Options options_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Task>> tasks_;
  uint64_t version_ = 0, next_order_ = 0;
};

}  // namespace hyperhost
