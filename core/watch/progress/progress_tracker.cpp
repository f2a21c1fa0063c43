// SPDX-License-Identifier: Apache-2.0
#include "core/watch/progress/progress_tracker.hpp"

#include <algorithm>
#include <limits>

#include "core/watch/progress/byte_rate.hpp"

namespace hyperhost {
namespace {

constexpr size_t kKeptWarnings = 100;
// What a running step or task shows at most: 100 is for what has ended well.
constexpr double kAlmost = 99.9;
// Beyond this an estimate is noise.
constexpr double kLongestEta = 30.0 * 24 * 3600;

std::optional<double> eta(double remaining, double rate) {
  if (rate <= 0) return std::nullopt;
  const double seconds = remaining / rate;
  return seconds <= kLongestEta ? std::optional(seconds) : std::nullopt;
}

TaskStatus final_status(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSucceeded:
      return TaskStatus::kCompleted;
    case Outcome::kFailed:
      return TaskStatus::kFailed;
    case Outcome::kCancelled:
      return TaskStatus::kCancelled;
    case Outcome::kSkipped:
      return TaskStatus::kSkipped;
  }
  return TaskStatus::kFailed;
}

}  // namespace

std::string task_status_name(const TaskProgress& task) {
  switch (task.status) {
    case TaskStatus::kPending:
      return "pending";
    case TaskStatus::kRunning:
      return task.doing;
    case TaskStatus::kCompleted:
      return "completed";
    case TaskStatus::kFailed:
      return "failed";
    case TaskStatus::kCancelled:
      return "cancelled";
    case TaskStatus::kSkipped:
      return "skipped";
  }
  return "failed";
}

bool is_final(TaskStatus status) {
  return status >= TaskStatus::kCompleted;
}

struct ProgressTracker::Step : StepProgress {
  uint64_t declared_total = 0;  // what its start said; bytes_total may grow with the disks
  ByteRate meter;
  Now ended;  // where the average stops once it is not running

  void end(bool success, WallClock::time_point time, Now now) {
    ended = now;
    status = success ? Status::kCompleted : Status::kFailed;
    end_time = time;
    if (!success) percentage = std::min(percentage, kAlmost);
  }
  bool running() const { return status == Status::kRunning; }
  void raise(double to) {
    percentage = std::max(percentage, status == Status::kCompleted ? to : std::min(to, kAlmost));
  }
};

struct ProgressTracker::Task {
  TaskProgress view;  // without its stages, disks and rates, which a snapshot fills in
  uint64_t order = 0;
  std::vector<Step> stages, disks;
  ByteRate work{std::chrono::seconds(15)};  // of guest_bytes × percentage, for the task's ETA

  Step* find(std::vector<Step>& steps, Stage stage, const std::string& disk_id = {}) {
    const auto it = std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
      return step.stage == stage && step.disk_id == disk_id;
    });
    return it == steps.end() ? nullptr : &*it;
  }
  /// Adds the step, or sets an ended or retried one running again without losing its percentage.
  Step& start(std::vector<Step>& steps, Stage stage, const std::string& disk_id,
              WallClock::time_point time) {
    Step* step = find(steps, stage, disk_id);
    if (!step) {
      step = &steps.emplace_back();
      step->stage = stage;
      step->disk_id = disk_id;
      step->start_time = time;
    }
    step->status = StepProgress::Status::kRunning;
    step->end_time.reset();
    step->percentage = std::min(step->percentage, kAlmost);
    return *step;
  }
  /// The conversion while it runs: in one pass the export runs beside it, and guest bytes are what
  /// an operator asks for. Else the earliest stage still running, else the last one begun.
  const Step* current() const {
    const Step* first = nullptr;
    for (const Step& stage : stages) {
      if (!stage.running()) continue;
      if (stage.stage == Stage::kConvert) return &stage;
      if (!first || stage.stage < first->stage) first = &stage;
    }
    return first || stages.empty() ? first : &stages.back();
  }
};

ProgressTracker::ProgressTracker() : ProgressTracker(Options{}) {}
ProgressTracker::ProgressTracker(Options options) : options_(std::move(options)) {}
ProgressTracker::~ProgressTracker() = default;

void ProgressTracker::on_event(const Event& event) noexcept {
  try {
    const Now now = options_.now();
    std::lock_guard lock(mutex_);
    if (const auto* run = std::get_if<event::RunStarted>(&event.body)) {
      begin_run(*run, event.time);
    } else if (const auto* end = std::get_if<event::RunFinished>(&event.body)) {
      end_run(*end, event.time);
    } else if (event.task) {
      Task& task = find_or_add(event);
      apply(task, event, now);
      recompute(task, now);
      task.view.updated_time = event.time;
      task.view.version = ++version_;
      if (is_final(task.view.status)) forget_old_tasks();
    }
  } catch (const std::exception&) {
    // Out of memory is all that can come here; a lost update is repaired by the next one.
  }
}

ProgressTracker::Task& ProgressTracker::find_or_add(const Event& event) {
  std::unique_ptr<Task>& slot = tasks_[event.task->task_id];
  const bool again =
      slot && is_final(slot->view.status) && std::holds_alternative<event::TaskStarted>(event.body);
  if (!slot || again) {
    slot = std::make_unique<Task>();
    slot->order = next_order_++;
    slot->view.info = event.task;
    slot->view.start_time = slot->view.updated_time = event.time;
  }
  return *slot;
}

void ProgressTracker::begin_run(const event::RunStarted& run, WallClock::time_point time) {
  for (const auto& info : run.tasks) {
    Task& task = find_or_add(Event{time, info, event::TaskStarted{}});
    task.view.version = ++version_;
  }
}

void ProgressTracker::end_run(const event::RunFinished& run, WallClock::time_point time) {
  for (auto& [id, task] : tasks_) {
    if (task->view.info->run_id != run.run_id || is_final(task->view.status)) continue;
    task->view.status = TaskStatus::kCancelled;
    task->view.end_time = task->view.updated_time = time;
    task->view.version = ++version_;
  }
  forget_old_tasks();
}

void ProgressTracker::apply(Task& task, const Event& event, Now now) {
  TaskProgress& view = task.view;
  const WallClock::time_point time = event.time;
  const auto disk_bytes = [&](Stage stage, const std::string& id, uint64_t done, uint64_t total) {
    Step* disk = task.find(task.disks, stage, id);
    if (!disk) disk = &task.start(task.disks, stage, id, time);
    disk->bytes_done = done;
    disk->bytes_total = std::max(total, done);
    disk->meter.sample(static_cast<double>(done), now);
    return disk;
  };

  if (const auto* started = std::get_if<event::TaskStarted>(&event.body)) {
    if (view.status == TaskStatus::kPending) view.start_time = time;
    view.guest_bytes = started->guest_bytes;
    view.planned = started->stages;
  } else if (const auto* stage = std::get_if<event::StageStarted>(&event.body)) {
    Step& step = task.start(task.stages, stage->stage, {}, time);
    step.declared_total = stage->bytes_total;
    step.message = stage->description;
    step.meter.sample(static_cast<double>(step.bytes_done), now);
    if (std::find(view.planned.begin(), view.planned.end(), stage->stage) == view.planned.end())
      view.planned.push_back(stage->stage);
  } else if (const auto* ended = std::get_if<event::StageFinished>(&event.body)) {
    Step* step = task.find(task.stages, ended->stage);
    if (!step) step = &task.start(task.stages, ended->stage, {}, time);
    step->end(ended->success, time, now);
    if (ended->success) step->bytes_done = std::max(step->bytes_done, ended->bytes);
  } else if (const auto* begun = std::get_if<event::DiskStarted>(&event.body)) {
    task.start(task.disks, begun->stage, begun->disk_id, time);
    disk_bytes(begun->stage, begun->disk_id, 0, begun->bytes_total);
  } else if (const auto* moved = std::get_if<event::DiskProgress>(&event.body)) {
    disk_bytes(moved->stage, moved->disk_id, moved->bytes_done, moved->bytes_total);
  } else if (const auto* done = std::get_if<event::DiskFinished>(&event.body)) {
    Step* disk = task.find(task.disks, done->stage, done->disk_id);
    const uint64_t total = disk ? disk->bytes_total : 0;
    disk = disk_bytes(done->stage, done->disk_id, done->bytes, done->success ? done->bytes : total);
    // A source smaller than announced (sparse, compressed) is complete all the same.
    disk->end(done->success, time, now);
  } else if (const auto* notice = std::get_if<event::Notice>(&event.body)) {
    if (notice->diagnostic.severity != Severity::kInfo) {
      view.warnings.push_back(to_string(notice->diagnostic));
      if (view.warnings.size() > kKeptWarnings) {
        view.warnings.erase(view.warnings.begin());
        ++view.warnings_dropped;
      }
    }
  } else if (std::holds_alternative<event::Retry>(event.body)) {
    ++view.retries;
  } else if (const auto* finished = std::get_if<event::TaskFinished>(&event.body)) {
    view.status = final_status(finished->outcome);
    view.end_time = time;
    view.manifest_path = finished->manifest_path;
    view.files = finished->files.size();
    const bool success =
        view.status == TaskStatus::kCompleted || view.status == TaskStatus::kSkipped;
    if (!success) view.error = to_string(finished->error);
    for (auto* steps : {&task.stages, &task.disks})
      for (Step& step : *steps)
        if (step.running()) step.end(success, time, now);
  }
}

void ProgressTracker::recompute(Task& task, Now now) {
  TaskProgress& view = task.view;
  for (Step& disk : task.disks) {
    if (disk.status == StepProgress::Status::kCompleted)
      disk.raise(100);
    else if (disk.bytes_total > 0)
      disk.raise(100.0 * static_cast<double>(disk.bytes_done) /
                 static_cast<double>(disk.bytes_total));
  }
  for (Step& stage : task.stages) {
    uint64_t total = 0, done = 0;
    for (const Step& disk : task.disks)
      if (disk.stage == stage.stage) total += disk.bytes_total, done += disk.bytes_done;
    // Disks that have not begun count too, or a second disk would throw the first back.
    stage.bytes_total = std::max(
        {stage.declared_total, total, stage.stage.row().counts_guest_bytes ? view.guest_bytes : 0});
    if (stage.running()) {
      stage.bytes_done = done;
    } else {
      stage.bytes_done = std::max(stage.bytes_done, done);
      if (stage.status == StepProgress::Status::kCompleted) {
        stage.bytes_total = stage.bytes_done;
        stage.raise(100);
      }
    }
    stage.meter.sample(static_cast<double>(stage.bytes_done), now);
    if (stage.bytes_total > 0)
      stage.raise(100.0 * static_cast<double>(stage.bytes_done) /
                  static_cast<double>(stage.bytes_total));
  }

  // A stage that cannot know its total (a compressed stream) moves with the stage that eats it.
  double known = 0;
  for (const Step& stage : task.stages)
    if (stage.running() && stage.bytes_total > 0) known = std::max(known, stage.percentage);
  double sum = 0;
  for (const Stage planned : view.planned) {
    const Step* stage = task.find(task.stages, planned);
    if (!stage) continue;
    sum += stage->running() && stage->bytes_total == 0 ? known : stage->percentage;
  }
  const double mean = view.planned.empty() ? 0 : sum / static_cast<double>(view.planned.size());
  view.percentage = std::max(view.percentage, std::min(mean, kAlmost));
  if (view.status == TaskStatus::kCompleted || view.status == TaskStatus::kSkipped)
    view.percentage = 100;

  if (const Step* current = task.current()) {
    view.current_stage = stage_name(current->stage);
    if (!is_final(view.status)) {
      view.status = TaskStatus::kRunning;
      view.doing = current->stage.row().doing;
    }
  }
  task.work.sample(view.percentage, now);
}

void ProgressTracker::forget_old_tasks() {
  std::vector<std::pair<WallClock::time_point, std::string>> finished;
  for (const auto& [id, task] : tasks_)
    if (is_final(task->view.status)) finished.emplace_back(*task->view.end_time, id);
  if (finished.size() <= options_.keep_finished) return;
  std::sort(finished.begin(), finished.end());
  finished.resize(finished.size() - options_.keep_finished);
  for (const auto& [time, id] : finished) tasks_.erase(id);
}

TaskProgress ProgressTracker::snapshot(const Task& task, Now now) const {
  TaskProgress view = task.view;
  const auto fill = [&](const std::vector<Step>& from, std::vector<StepProgress>& to) {
    for (const Step& step : from) {
      StepProgress& copy = to.emplace_back(step);
      copy.average_rate = step.meter.average(step.running() ? now : step.ended);
      if (!step.running()) continue;
      copy.rate = step.meter.current(now);
      if (step.bytes_total > step.bytes_done)
        copy.eta_seconds = eta(static_cast<double>(step.bytes_total - step.bytes_done), copy.rate);
    }
  };
  fill(task.stages, view.stages);
  fill(task.disks, view.disks);
  if (const Step* current = task.current()) {
    const bool final = is_final(view.status);
    for (const Step& stage : task.stages)
      if (stage.stage == Stage::kConvert && final) current = &stage;
    view.average_rate = current->meter.average(current->running() ? now : current->ended);
    if (!final) {
      view.rate = current->meter.current(now);
      view.eta_seconds = eta(100 - view.percentage, task.work.current(now));
    }
  }
  return view;
}

std::optional<TaskProgress> ProgressTracker::get_progress(const std::string& task_id) const {
  std::lock_guard lock(mutex_);
  const auto it = tasks_.find(task_id);
  if (it == tasks_.end()) return std::nullopt;
  return snapshot(*it->second, options_.now());
}

std::vector<TaskProgress> ProgressTracker::list() const {
  std::vector<std::pair<uint64_t, TaskProgress>> ordered;
  {
    std::lock_guard lock(mutex_);
    const Now now = options_.now();
    for (const auto& [id, task] : tasks_) ordered.emplace_back(task->order, snapshot(*task, now));
  }
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TaskProgress> result;
  result.reserve(ordered.size());
  for (auto& [order, task] : ordered) result.push_back(std::move(task));
  return result;
}

std::vector<TaskProgress> ProgressTracker::changed_since(uint64_t version) const {
  std::vector<TaskProgress> result;
  {
    std::lock_guard lock(mutex_);
    const Now now = options_.now();
    for (const auto& [id, task] : tasks_)
      if (task->view.version > version) result.push_back(snapshot(*task, now));
  }
  std::sort(result.begin(), result.end(),
            [](const TaskProgress& a, const TaskProgress& b) { return a.version < b.version; });
  return result;
}

uint64_t ProgressTracker::version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

}  // namespace hyperhost
