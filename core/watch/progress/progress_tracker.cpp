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
constexpr std::chrono::seconds kSettle{15};  // of a task's own time left
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
  uint64_t adopted = 0;  // of bytes_done: an earlier run moved them
  Now ended;             // where the average stops once it is not running

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
  std::vector<Step> stages;
  std::vector<Step> disks;            // one per disk and stage
  std::vector<std::string> disk_ids;  // in the order of the description
  ByteRate work{kSettle};             // of guest_bytes × percentage, for the task's ETA

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
    std::vector<const Step*> all;
    for (const Step& stage : stages) all.push_back(&stage);
    return current_of(all);
  }
  static const Step* current_of(const std::vector<const Step*>& steps) {
    const Step* first = nullptr;
    for (const Step* step : steps) {
      if (!step->running()) continue;
      if (step->stage == Stage::kConvert) return step;
      if (!first || step->stage < first->stage) first = step;
    }
    return first || steps.empty() ? first : steps.back();
  }
  /// The part of the planned stages that these steps, one a stage at most, have done; in percent.
  double share(const std::vector<const Step*>& steps) const {
    // A stage that cannot know its total (a compressed stream) moves with the one that eats it.
    double known = 0;
    for (const Step* step : steps)
      if (step->running() && step->bytes_total > 0) known = std::max(known, step->percentage);
    const auto of = [&](Stage stage) {
      for (const Step* step : steps)
        if (step->stage == stage)
          return step->running() && step->bytes_total == 0 ? known : step->percentage;
      return -1.0;
    };
    double sum = 0;
    for (const Stage planned : view.planned) {
      double part = of(planned);
      // A disk whose export reports nothing (a blank one, an unknown size) moves with its pass.
      if (part < 0 && planned == Stage::kExport) part = of(Stage::kConvert);
      sum += std::max(0.0, part);
    }
    return view.planned.empty() ? 0 : sum / static_cast<double>(view.planned.size());
  }
  StepProgress disk_row(const std::string& id, Now now) const;
  std::vector<StepProgress> disk_rows(Now now) const;
};

namespace {

/// What a reader sees of a step at `now`.
template <class Step>
StepProgress seen(const Step& step, std::chrono::steady_clock::time_point now) {
  StepProgress out = step;
  out.average_rate = step.meter.average(step.running() ? now : step.ended);
  if (!step.running()) return out;
  out.rate = step.meter.current(now);
  if (step.bytes_total > step.bytes_done)
    out.eta_seconds = eta(static_cast<double>(step.bytes_total - step.bytes_done), out.rate);
  return out;
}

}  // namespace

StepProgress ProgressTracker::Task::disk_row(const std::string& id, Now now) const {
  std::vector<const Step*> steps;
  for (const Step& step : disks)
    if (step.disk_id == id) steps.push_back(&step);
  StepProgress row = seen(*current_of(steps), now);
  const auto is = [&](StepProgress::Status status) {
    return [status](const Step* step) { return step->status == status; };
  };
  const bool failed = std::any_of(steps.begin(), steps.end(), is(StepProgress::Status::kFailed));
  const bool running = std::any_of(steps.begin(), steps.end(), is(StepProgress::Status::kRunning));
  const double part = share(steps);
  const bool done =
      view.status == TaskStatus::kCompleted || (is_final(view.status) && !running) || part >= 100;
  row.start_time = steps.front()->start_time;
  row.status = failed ? StepProgress::Status::kFailed
               : done ? StepProgress::Status::kCompleted
                      : StepProgress::Status::kRunning;
  row.percentage = row.status == StepProgress::Status::kCompleted ? 100 : std::min(part, kAlmost);
  if (row.status == StepProgress::Status::kRunning) row.end_time.reset();
  return row;
}

std::vector<StepProgress> ProgressTracker::Task::disk_rows(Now now) const {
  std::vector<std::string> ids = disk_ids;
  for (const Step& step : disks)
    if (std::find(ids.begin(), ids.end(), step.disk_id) == ids.end()) ids.push_back(step.disk_id);
  std::vector<StepProgress> rows;
  for (const std::string& id : ids)
    if (std::any_of(disks.begin(), disks.end(), [&](const Step& one) { return one.disk_id == id; }))
      rows.push_back(disk_row(id, now));
  return rows;
}

ProgressTracker::ProgressTracker() : ProgressTracker(Options{}) {}
ProgressTracker::ProgressTracker(Options options) : options_(std::move(options)) {}
ProgressTracker::~ProgressTracker() = default;

void ProgressTracker::on_event(const Event& event) noexcept {
  try {
    const Now now = options_.now();
    std::lock_guard lock(mutex_);
    last_time_ = event.time;
    last_now_ = now;
    run_.pass(now, running_);
    if (const auto* run = std::get_if<event::RunStarted>(&event.body)) {
      run_.begin(*run, event.time, now);
      begin_run(*run, event.time);
    } else if (const auto* end = std::get_if<event::RunFinished>(&event.body)) {
      end_run(*end, event.time);
      run_.end(event.time, now);
    } else if (event.task) {
      Task& task = find_or_add(event);
      change(task, event, now);
      task.view.updated_time = event.time;
      task.view.version = ++version_;
      if (is_final(task.view.status)) forget_old_tasks();
    }
  } catch (const std::exception&) {
    // Out of memory is all that can come here; a lost update is repaired by the next one.
  }
}

/// The task's figures after the event, and what of them counts as moved now.
void ProgressTracker::change(Task& task, const Event& event, Now now) {
  const double before = task.view.percentage;
  const bool ran = task.view.status == TaskStatus::kRunning;
  apply(task, event, now);
  recompute(task, now);
  if (ran) --running_;
  if (task.view.status == TaskStatus::kRunning) ++running_;
  const auto* started = std::get_if<event::DiskStarted>(&event.body);
  const auto* finished = std::get_if<event::TaskFinished>(&event.body);
  if (finished != nullptr && finished->already_done) return;
  if (started != nullptr && started->bytes_adopted != 0) {
    task.work = ByteRate(kSettle);
    task.work.sample(task.view.percentage, now);
    return;
  }
  run_.moved(static_cast<double>(task.view.move_bytes) * (task.view.percentage - before) / 100);
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
    if (task->view.status == TaskStatus::kRunning) --running_;
    task->view.status = TaskStatus::kCancelled;
    task->view.end_time = task->view.updated_time = time;
    task->view.version = ++version_;
  }
  forget_old_tasks();
}

void ProgressTracker::apply_disk(Task& task, const Event& event, Now now) {
  const auto disk_bytes = [&](Stage stage, const std::string& id, uint64_t done, uint64_t total) {
    Step* disk = task.find(task.disks, stage, id);
    if (!disk) disk = &task.start(task.disks, stage, id, event.time);
    disk->bytes_done = done;
    disk->bytes_total = std::max(total, done);
    disk->meter.sample(static_cast<double>(done), now);
    return disk;
  };
  if (const auto* begun = std::get_if<event::DiskStarted>(&event.body)) {
    Step& disk = task.start(task.disks, begun->stage, begun->disk_id, event.time);
    disk.meter = ByteRate();
    disk.adopted = begun->bytes_adopted;
    disk_bytes(begun->stage, begun->disk_id, begun->bytes_adopted, begun->bytes_total);
  } else if (const auto* moved = std::get_if<event::DiskProgress>(&event.body)) {
    disk_bytes(moved->stage, moved->disk_id, moved->bytes_done, moved->bytes_total);
  } else if (const auto* done = std::get_if<event::DiskFinished>(&event.body)) {
    Step* disk = task.find(task.disks, done->stage, done->disk_id);
    const uint64_t total = disk ? disk->bytes_total : 0;
    disk = disk_bytes(done->stage, done->disk_id, done->bytes, done->success ? done->bytes : total);
    // A source smaller than announced (sparse, compressed) is complete all the same.
    disk->end(done->success, event.time, now);
  }
}

void ProgressTracker::apply(Task& task, const Event& event, Now now) {
  TaskProgress& view = task.view;
  const WallClock::time_point time = event.time;
  apply_disk(task, event, now);
  if (const auto* size = std::get_if<event::TaskMeasured>(&event.body)) {
    view.measured = true;
    view.guest_bytes = size->guest_bytes;
    view.move_bytes = size->move_bytes;
    task.disk_ids = size->disk_ids;
  } else if (const auto* waiting = std::get_if<event::TaskWaiting>(&event.body)) {
    if (is_final(view.status)) return;
    view.waiting = *waiting;
    view.status = TaskStatus::kPending;
  } else if (const auto* started = std::get_if<event::TaskStarted>(&event.body)) {
    if (view.status == TaskStatus::kPending && view.retries == 0) view.start_time = time;
    view.status = TaskStatus::kRunning;
    view.waiting.reset();
    if (!view.measured) view.guest_bytes = view.move_bytes = started->guest_bytes;
    view.measured = true;
    view.planned = started->stages;
    if (view.doing.empty())
      view.doing = (started->stages.empty() ? Stage::kExport : started->stages[0]).row().doing;
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
  } else if (const auto* notice = std::get_if<event::Notice>(&event.body)) {
    if (notice->diagnostic.severity == Severity::kInfo) return;
    view.warnings.push_back(to_string(notice->diagnostic));
    if (view.warnings.size() <= kKeptWarnings) return;
    view.warnings.erase(view.warnings.begin());
    ++view.warnings_dropped;
  } else if (std::holds_alternative<event::Retry>(event.body)) {
    ++view.retries;
  } else if (const auto* finished = std::get_if<event::TaskFinished>(&event.body)) {
    finish(task, *finished, time, now);
  }
}

void ProgressTracker::finish(Task& task, const event::TaskFinished& finished,
                             WallClock::time_point time, Now now) {
  TaskProgress& view = task.view;
  view.status = final_status(finished.outcome);
  view.waiting.reset();
  view.end_time = time;
  view.manifest_path = finished.manifest_path;
  view.files = finished.files.size();
  if (finished.already_done) view.move_bytes = 0;
  const bool success = view.status == TaskStatus::kCompleted;
  if (!success) view.error = to_string(finished.error);
  for (auto* steps : {&task.stages, &task.disks})
    for (Step& step : *steps)
      if (step.running()) step.end(success, time, now);
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
    uint64_t total = 0, done = 0, adopted = 0;
    for (const Step& disk : task.disks) {
      if (disk.stage != stage.stage) continue;
      total += disk.bytes_total;
      done += disk.bytes_done;
      adopted += disk.adopted;
    }
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
    stage.meter.sample(static_cast<double>(stage.bytes_done - std::min(adopted, stage.bytes_done)),
                       now);
    if (stage.bytes_total > 0)
      stage.raise(100.0 * static_cast<double>(stage.bytes_done) /
                  static_cast<double>(stage.bytes_total));
  }

  std::vector<const Step*> stages;
  for (const Step& stage : task.stages) stages.push_back(&stage);
  view.percentage = std::max(view.percentage, std::min(task.share(stages), kAlmost));
  if (view.status == TaskStatus::kCompleted) view.percentage = 100;

  if (const Step* current = task.current()) {
    view.current_stage = stage_name(current->stage);
    if (!is_final(view.status) && !view.waiting) {
      view.status = TaskStatus::kRunning;
      view.doing = current->stage.row().doing;
    }
  }
  task.work.sample(view.percentage, now);
}

void ProgressTracker::forget_old_tasks() {
  std::vector<std::pair<WallClock::time_point, std::string>> finished;
  for (const auto& [id, task] : tasks_)
    if (is_final(task->view.status) &&
        (run_.run_id().empty() || task->view.info->run_id != run_.run_id()))
      finished.emplace_back(*task->view.end_time, id);
  if (finished.size() <= options_.keep_finished) return;
  std::sort(finished.begin(), finished.end());
  finished.resize(finished.size() - options_.keep_finished);
  for (const auto& [time, id] : finished) tasks_.erase(id);
}

TaskProgress ProgressTracker::snapshot(const Task& task, Now now) const {
  TaskProgress view = task.view;
  for (const Step& stage : task.stages) view.stages.push_back(seen(stage, now));
  view.disks = task.disk_rows(now);
  const Step* shown = task.current();
  if (shown == nullptr) return view;
  const bool final = is_final(view.status);
  for (const Step& stage : task.stages) {
    // What comes from the source is what is moved: a converter's count has the zeros in it.
    const bool moves = stage.stage == Stage::kExport && shown->stage == Stage::kConvert &&
                       stage.running() && stage.bytes_done > 0;
    if (final ? stage.stage == Stage::kConvert : moves) shown = &stage;
  }
  view.average_rate = shown->meter.average(shown->running() ? now : shown->ended);
  if (view.status == TaskStatus::kRunning) {
    view.rate = shown->meter.current(now);
    view.eta_seconds = eta(100 - view.percentage, task.work.current(now));
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
  return frame().tasks;
}

ProgressFrame ProgressTracker::frame() const {
  std::vector<std::pair<uint64_t, TaskProgress>> ordered;
  ProgressFrame out;
  {
    std::lock_guard lock(mutex_);
    const Now now = options_.now();
    for (const auto& [id, task] : tasks_) ordered.emplace_back(task->order, snapshot(*task, now));
    std::sort(ordered.begin(), ordered.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    out.tasks.reserve(ordered.size());
    for (auto& [order, task] : ordered) out.tasks.push_back(std::move(task));
    run_.pass(now, running_);
    const auto since = std::chrono::duration_cast<WallClock::duration>(now - last_now_);
    const auto of_run = [&](const TaskProgress& task) {
      return run_.run_id().empty() || task.info->run_id == run_.run_id();
    };
    std::vector<TaskProgress> own;  // without what an earlier run left here
    std::copy_if(out.tasks.begin(), out.tasks.end(), std::back_inserter(own), of_run);
    out.run = run_.frame(own, last_time_ + since, now);
  }
  if (limits_ && out.run.running > 0) out.run.limits = limits_(out);
  return out;
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
