// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/timestamp.hpp"
#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

/// Two places, rounded down: 99.999 must not read as 100.
double percent(double value) {
  return std::floor(value * 100) / 100;
}

const char* status_name(StepProgress::Status status) {
  switch (status) {
    case StepProgress::Status::kRunning:
      return "running";
    case StepProgress::Status::kCompleted:
      return "completed";
    case StepProgress::Status::kFailed:
      return "failed";
  }
  return "failed";
}

json step_json(const StepProgress& step) {
  json object = {{"stage", stage_name(step.stage)},
                 {"status", status_name(step.status)},
                 {"start_time", format_timestamp(step.start_time)},
                 {"percentage", percent(step.percentage)},
                 {"bytes_total", step.bytes_total},
                 {"bytes_done", step.bytes_done},
                 {"rate", std::llround(step.rate)},
                 {"average_rate", std::llround(step.average_rate)}};
  object["eta"] = step.eta_seconds ? json(std::llround(*step.eta_seconds)) : json(nullptr);
  if (step.end_time) object["end_time"] = format_timestamp(*step.end_time);
  if (!step.message.empty()) object["message"] = step.message;
  if (!step.disk_id.empty()) object["id"] = step.disk_id;
  return object;
}

json waiting_json(const event::TaskWaiting& waiting) {
  return {{"reason", waiting.reason},
          {"text", waiting.text},
          {"until", waiting.until ? json(format_timestamp(*waiting.until, 0)) : json(nullptr)}};
}

/// Where the current stage stands among those the task goes through; 0 before the first.
std::size_t stage_index(const TaskProgress& task) {
  for (std::size_t i = 0; i < task.planned.size(); ++i)
    if (stage_name(task.planned[i]) == task.current_stage) return i;
  return 0;
}

}  // namespace

json run_progress_json(const RunFrame& run) {
  json object = {{"run_id", run.run_id},
                 {"plan", run.plan},
                 {"user", run.user},
                 {"host", run.host},
                 {"start_time", format_timestamp(run.start_time)},
                 {"end_time", run.end_time ? json(format_timestamp(*run.end_time)) : json(nullptr)},
                 {"elapsed", std::llround(run.elapsed_seconds)},
                 {"counts",
                  {{"total", run.total},
                   {"waiting", run.waiting},
                   {"running", run.running},
                   {"completed", run.completed},
                   {"failed", run.failed},
                   {"cancelled", run.cancelled},
                   {"skipped", run.skipped}}},
                 {"guest_bytes", run.guest_bytes},
                 {"unmeasured", run.unmeasured},
                 {"move_bytes", run.move_bytes},
                 {"moved_bytes", run.moved_bytes},
                 {"percentage", run.percentage ? json(percent(*run.percentage)) : json(nullptr)},
                 {"rate", std::llround(run.rate)},
                 {"limits", run.limits}};
  const auto seconds = [](double value) { return json(std::llround(value)); };
  object["eta"] = run.left ? seconds(run.left->likely) : json(nullptr);
  object["eta_low"] = run.left ? seconds(run.left->low) : json(nullptr);
  object["eta_high"] = run.left ? seconds(run.left->high) : json(nullptr);
  return object;
}

json progress_json(const TaskProgress& task) {
  json object = {{"task_id", task.info->task_id},
                 {"vm_name", task.info->vm_name},
                 {"provider", task.info->provider},
                 {"status", task_status_name(task)},
                 {"start_time", format_timestamp(task.start_time)},
                 {"updated_time", format_timestamp(task.updated_time)},
                 {"current_stage", task.current_stage},
                 {"total_stages", task.planned.size()},
                 {"stage_index", stage_index(task)},
                 {"percentage", percent(task.percentage)},
                 {"rate", std::llround(task.rate)},
                 {"average_rate", std::llround(task.average_rate)},
                 {"warnings", task.warnings},
                 {"stages", json::array()},
                 {"disks", json::array()}};
  object["eta"] = task.eta_seconds ? json(std::llround(*task.eta_seconds)) : json(nullptr);
  if (task.end_time) object["end_time"] = format_timestamp(*task.end_time);
  if (!task.error.empty()) object["error"] = task.error;
  if (task.waiting) object["waiting"] = waiting_json(*task.waiting);
  for (const StepProgress& stage : task.stages) {
    object[stage.stage.row().member] = step_json(stage);
    object["stages"].push_back(step_json(stage));
  }
  for (const StepProgress& disk : task.disks) object["disks"].push_back(step_json(disk));

  json metadata = {{"run_id", task.info->run_id},
                   {"provider_name", task.info->provider_name},
                   {"converter", task.info->converter},
                   {"target_format", task.info->target_format},
                   {"user", task.info->user},
                   {"guest_bytes", task.guest_bytes},
                   {"move_bytes", task.move_bytes},
                   {"retries", task.retries},
                   {"warnings_dropped", task.warnings_dropped}};
  json planned = json::array();
  for (const Stage stage : task.planned) planned.push_back(stage_name(stage));
  metadata["planned_stages"] = std::move(planned);
  if (!task.manifest_path.empty()) metadata["manifest_path"] = task.manifest_path;
  if (task.files != 0) metadata["files"] = task.files;
  object["metadata"] = std::move(metadata);
  return object;
}

}  // namespace hyperhost
