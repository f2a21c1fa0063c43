// SPDX-License-Identifier: Apache-2.0
#include "core/watch/recorder/run_recorder.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "core/os/process_identity.hpp"

namespace hyperhost {
namespace {

constexpr std::chrono::milliseconds kInterval{500};
constexpr std::chrono::seconds kHeartbeat{2};

Millis millis(WallClock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

template <class... Fs>
struct Cases : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Cases(Fs...) -> Cases<Fs...>;

}  // namespace

RunRecorder::RunRecorder(std::shared_ptr<RunState> state, std::string plan_file,
                         std::function<void(const std::string&)> on_cancel,
                         const ProgressTracker* tracker)
    : state_(std::move(state)),
      plan_file_(std::move(plan_file)),
      on_cancel_(std::move(on_cancel)),
      tracker_(tracker),
      writer_([this](const std::stop_token& stop) { work(stop); }) {}

RunRecorder::~RunRecorder() {
  writer_.request_stop();
  writer_.join();
}

void RunRecorder::failed(const std::exception& failure) noexcept {
  if (said_.exchange(true)) return;
  spdlog::warn("what this run does is not recorded: {}", failure.what());
}

void RunRecorder::on_event(const Event& event) noexcept {
  try {
    if (const auto* started = std::get_if<event::RunStarted>(&event.body)) {
      RunRecord run{started->run_id,
                    started->plan_name,
                    plan_file_,
                    started->user,
                    this_process(),
                    millis(event.time),
                    0,
                    0,
                    {}};
      std::vector<TaskRecord> records;
      for (const auto& info : started->tasks) {
        TaskRecord record;
        record.task_id = info->task_id;
        record.run_id = info->run_id;
        record.vm_name = info->vm_name;
        record.provider = info->provider;
        record.status = "pending";
        records.push_back(std::move(record));
      }
      try {  // before the first task's events: their rows are its children
        state_->begin_run(run, records);
        const std::lock_guard lock(mutex_);
        run_id_ = run.run_id;
      } catch (const std::exception& failure) {
        failed(failure);
      }
      return;
    }
    const std::lock_guard lock(mutex_);
    if (run_id_.empty()) return;
    if (event.task == nullptr) {
      urgent_ = true;
    } else {
      // A task that waits has nothing to write but what the tracker shows.
      if (std::holds_alternative<event::TaskMeasured>(event.body) ||
          std::holds_alternative<event::TaskWaiting>(event.body))
        return;
      Task& task = tasks_[event.task->task_id];
      if (task.record.task_id.empty()) {
        task.record.task_id = event.task->task_id;
        task.record.status = "running";
      }
      note(task, event);
    }
    if (urgent_) changed_.notify_all();
  } catch (const std::exception& failure) {  // out of memory
    failed(failure);
  }
}

void RunRecorder::note(Task& task, const Event& event) {
  const auto disk = [&](Stage stage, const std::string& id) -> DiskRecord& {
    DiskRecord& record = task.disks[{id, stage_name(stage)}];
    record.disk_id = id;
    record.stage = stage_name(stage);
    return record;
  };
  std::visit(
      Cases{[&](const event::TaskStarted& started) {
              task.changed = true;
              if (task.record.attempts == 0) {  // a skipped VM never began
                task.record.started = millis(event.time);
                task.record.attempts = 1;
              }
              task.record.disks = started.disks;
              task.record.guest_bytes = started.guest_bytes;
            },
            [&](const event::StageStarted& started) {
              StageRecord stage{
                  stage_name(started.stage), millis(event.time), 0, 0, started.bytes_total, false};
              task.running[stage.stage] = task.stages[stage.stage] = stage;
              task.record.stage = stage.stage;
              task.changed = true;
            },
            [&](const event::StageFinished& finished) {
              StageRecord stage = task.running[stage_name(finished.stage)];
              stage.stage = stage_name(finished.stage);
              stage.ended = millis(event.time);
              stage.bytes = finished.bytes;
              stage.success = finished.success;
              task.stages[stage.stage] = stage;
            },
            [&](const event::DiskStarted& started) {
              disk(started.stage, started.disk_id) = {started.disk_id, stage_name(started.stage),
                                                      "running", 0, started.bytes_total};
            },
            [&](const event::DiskProgress& progress) {
              DiskRecord& record = disk(progress.stage, progress.disk_id);
              record.status = "running";
              record.done = progress.bytes_done;
              record.total = progress.bytes_total;
            },
            [&](const event::DiskFinished& finished) {
              DiskRecord& record = disk(finished.stage, finished.disk_id);
              record.status = finished.success ? "done" : "failed";
              record.done = finished.bytes;
              record.total = std::max(record.total, finished.bytes);
            },
            [&](const event::Retry& retry) {
              task.attempts.push_back(
                  {retry.attempt, millis(event.time), code_name(retry.diagnostic.code),
                   to_string(retry.diagnostic),
                   std::chrono::duration_cast<std::chrono::milliseconds>(retry.delay).count()});
              task.record.attempts = retry.attempt + 1;
              task.changed = true;
            },
            [&](const event::TaskFinished& finished) {
              task.record.status = outcome_name(finished.outcome);
              task.record.ended = millis(event.time);
              task.record.error =
                  finished.outcome == Outcome::kSucceeded ? "" : to_string(finished.error);
              task.changed = urgent_ = true;
            },
            [](const auto&) {}},
      event.body);
}

void RunRecorder::work(const std::stop_token& stop) {
  std::set<std::string> passed_on;
  for (;;) {
    std::string run_id;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, kInterval, [&] { return urgent_; });
      urgent_ = false;
      run_id = run_id_;
    }
    // Asked once: what comes while the state is being written must be written before the end, too.
    const bool last = stop.stop_requested();
    flush(last);
    if (last) break;
    if (run_id.empty() || !on_cancel_) continue;
    try {
      for (const std::string& task : state_->cancel_requests(run_id))
        if (passed_on.insert(task).second) on_cancel_(task);
    } catch (const std::exception& failure) {
      failed(failure);
    }
  }
  try {
    if (!run_id_.empty()) state_->end_run(run_id_);
  } catch (const std::exception& failure) {
    failed(failure);
  }
}

void RunRecorder::record_progress(RunState::Group& group, const std::string& run_id) {
  if (tracker_ == nullptr) return group.run_progress(run_id, nullptr);
  const uint64_t version = tracker_->version();
  const ProgressFrame frame = tracker_->frame();
  for (const TaskProgress& task : frame.tasks) {
    if (task.version <= recorded_ && task.status != TaskStatus::kRunning) continue;
    if (task.info->run_id != run_id) continue;
    nlohmann::json progress = progress_json(task);
    progress.erase("warnings");  // which the result has
    group.task_progress(task.info->task_id, progress);
  }
  group.run_progress(run_id, run_progress_json(frame.run));
  recorded_ = version;
}

void RunRecorder::flush(bool last) {
  std::vector<Task> changes;
  std::string run_id;
  {
    const std::lock_guard lock(mutex_);
    run_id = run_id_;
    for (auto at = tasks_.begin(); at != tasks_.end();) {
      Task& task = at->second;
      const bool over = task.record.ended != 0;
      if (task.changed || !task.stages.empty() || !task.disks.empty() || !task.attempts.empty()) {
        Task change;
        change.record = task.record;
        change.changed = std::exchange(task.changed, false);
        change.stages.swap(task.stages);
        change.disks.swap(task.disks);
        change.attempts.swap(task.attempts);
        changes.push_back(std::move(change));
      }
      at = over ? tasks_.erase(at) : std::next(at);
    }
  }
  const auto now = std::chrono::steady_clock::now();
  const bool moved = tracker_ != nullptr && tracker_->version() != recorded_;
  if (run_id.empty() || (changes.empty() && !moved && !last && now - seen_ < kHeartbeat)) return;
  try {
    const auto group = state_->update();
    for (const Task& task : changes) {
      if (task.changed) group->task(task.record);
      for (const auto& [name, stage] : task.stages) group->stage(task.record.task_id, stage);
      for (const auto& [key, disk] : task.disks) group->disk(task.record.task_id, disk);
      for (const AttemptRecord& attempt : task.attempts)
        group->attempt(task.record.task_id, attempt);
    }
    record_progress(*group, run_id);
    group->commit();
    seen_ = now;
  } catch (const std::exception& failure) {
    failed(failure);
  }
}

}  // namespace hyperhost
