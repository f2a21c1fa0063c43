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
#include "core/watch/progress/run_progress.hpp"

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
  bool measured = false;       ///< the two sizes are known
  uint64_t guest_bytes = 0;    ///< sum of the disks' capacities
  uint64_t move_bytes = 0;     ///< what has to be moved of them; 0 where an earlier run did it all
  std::optional<event::TaskWaiting> waiting;  ///< while kPending, once the reason is known
  double percentage = 0;  ///< of completed bytes over all stages; never falls, 100 only at the end
  /// Bytes a second: what is read from the source where that is counted, else of the current
  /// stage; at the end of the conversion.
  double rate = 0, average_rate = 0;
  std::optional<double> eta_seconds;
  std::vector<StepProgress> stages;  ///< in the order they began
  std::vector<StepProgress> disks;   ///< one per disk that began, in the description's order
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

/// One moment: the run and its VMs, which every display shows alike.
struct ProgressFrame {
  RunFrame run;
  std::vector<TaskProgress> tasks;  ///< in the plan's order
};

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
  ProgressFrame frame() const;
  /// Asked for each frame: the limits that slow the run down at that moment, for people. Set before
  /// events.
  using Limits = std::function<std::vector<std::string>(const ProgressFrame&)>;
  void set_limits(Limits limits) { limits_ = std::move(limits); }
  /// The tasks that changed after `version`, in the order of their change.
  std::vector<TaskProgress> changed_since(uint64_t version) const;
  /// Grows with every change.
  uint64_t version() const;

 private:
  struct Step;
  struct Task;
  using Now = std::chrono::steady_clock::time_point;

  void change(Task& task, const Event& event, Now now);
  Task& find_or_add(const Event& event);
  void begin_run(const event::RunStarted& run, WallClock::time_point time);
  void end_run(const event::RunFinished& run, WallClock::time_point time);
  void apply(Task& task, const Event& event, Now now);
  static void finish(Task& task, const event::TaskFinished& finished, WallClock::time_point time,
                     Now now);
  void recompute(Task& task, Now now);
  void forget_old_tasks();
  TaskProgress snapshot(const Task& task, Now now) const;

  static void apply_disk(Task& task, const Event& event, Now now);

  Options options_;
  Limits limits_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Task>> tasks_;
  mutable RunProgress run_;
  std::size_t running_ = 0;          ///< tasks
  WallClock::time_point last_time_;  ///< of the newest event, by both clocks
  Now last_now_{};
  uint64_t version_ = 0, next_order_ = 0;
};

}  // namespace hyperhost
