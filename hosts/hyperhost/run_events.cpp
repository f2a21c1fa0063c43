// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/run_events.hpp"

#include <nlohmann/json.hpp>

#include "core/base/redactor.hpp"
#include "core/base/timestamp.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::ordered_json;

Json task_json(const TaskInfo& task) {
  return {{"task_id", task.task_id},     {"vm_name", task.vm_name},
          {"provider", task.provider},   {"provider_name", task.provider_name},
          {"converter", task.converter}, {"target_format", task.target_format}};
}

/// The event's name and members; nothing for DiskProgress.
Json members(const EventBody& body) {
  return std::visit(
      Overloaded{[](const event::RunStarted& e) {
                   Json tasks = Json::array();
                   for (const auto& task : e.tasks) tasks.push_back(task_json(*task));
                   return Json{{"event", "run_started"}, {"run_id", e.run_id},
                               {"plan", e.plan_name},    {"user", e.user},
                               {"host", e.host},         {"tasks", std::move(tasks)}};
                 },
                 [](const event::RunFinished& e) {
                   return Json{{"event", "run_finished"},  {"run_id", e.run_id},
                               {"succeeded", e.succeeded}, {"failed", e.failed},
                               {"cancelled", e.cancelled}, {"skipped", e.skipped}};
                 },
                 [](const event::TaskMeasured& e) {
                   return Json{{"event", "task_measured"},
                               {"guest_bytes", e.guest_bytes},
                               {"move_bytes", e.move_bytes},
                               {"disks", e.disk_ids}};
                 },
                 [](const event::TaskWaiting& e) {
                   Json out = {{"event", "task_waiting"}, {"reason", e.reason}, {"text", e.text}};
                   if (e.until) out["until"] = format_timestamp(*e.until, 0);
                   return out;
                 },
                 [](const event::TaskStarted& e) {
                   Json stages = Json::array();
                   for (const Stage stage : e.stages) stages.push_back(stage_name(stage));
                   return Json{{"event", "task_started"},
                               {"disks", e.disks},
                               {"guest_bytes", e.guest_bytes},
                               {"stages", std::move(stages)}};
                 },
                 [](const event::StageStarted& e) {
                   return Json{{"event", "stage_started"},
                               {"stage", stage_name(e.stage)},
                               {"bytes_total", e.bytes_total},
                               {"description", e.description}};
                 },
                 [](const event::StageFinished& e) {
                   return Json{{"event", "stage_finished"},
                               {"stage", stage_name(e.stage)},
                               {"success", e.success},
                               {"bytes", e.bytes},
                               {"seconds", seconds(e.duration)}};
                 },
                 [](const event::DiskStarted& e) {
                   return Json{{"event", "disk_started"},
                               {"stage", stage_name(e.stage)},
                               {"disk", e.disk_id},
                               {"bytes_total", e.bytes_total}};
                 },
                 [](const event::DiskProgress&) { return Json(); },
                 [](const event::DiskFinished& e) {
                   return Json{{"event", "disk_finished"}, {"stage", stage_name(e.stage)},
                               {"disk", e.disk_id},        {"success", e.success},
                               {"bytes", e.bytes},         {"seconds", seconds(e.duration)}};
                 },
                 [](const event::Notice& e) {
                   return Json{{"event", "notice"},
                               {"stage", e.stage},
                               {"diagnostic", diagnostic_json(e.diagnostic)}};
                 },
                 [](const event::Retry& e) {
                   return Json{{"event", "retry"},
                               {"stage", e.stage},
                               {"attempt", e.attempt},
                               {"delay_seconds", seconds(e.delay)},
                               {"diagnostic", diagnostic_json(e.diagnostic)}};
                 },
                 [](const event::TaskFinished& e) {
                   Json out = {{"event", "task_finished"},
                               {"outcome", outcome_name(e.outcome)},
                               {"seconds", seconds(e.duration)},
                               {"bytes_exported", e.bytes_exported},
                               {"bytes_converted", e.bytes_converted},
                               {"bytes_uploaded", e.bytes_uploaded},
                               {"manifest_path", e.manifest_path},
                               {"files", e.files}};
                   if (e.outcome != Outcome::kSucceeded)
                     out["diagnostic"] = diagnostic_json(e.error);
                   return out;
                 }},
      body);
}

Json head(const Event& event) {
  Json out = {{"time", format_timestamp(event.time)}};
  if (event.task) {
    out["task_id"] = event.task->task_id;
    out["vm_name"] = event.task->vm_name;
  }
  return out;
}

std::string dump(const Json& object) {
  return Redactor::global().redact(
      object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void RunEvents::progress(const Event& event, bool now) {
  {
    const std::lock_guard lock(mutex_);
    const auto time = std::chrono::steady_clock::now();
    auto [found, first] = last_.try_emplace(event.task->task_id, time);
    if (!first && !now && time - found->second < std::chrono::seconds(1)) return;
    found->second = time;
  }
  const auto task = tracker_.get_progress(event.task->task_id);
  if (!task) return;
  Json out = head(event);
  out["event"] = "progress";
  out["task"] = progress_json(*task);
  print_(dump(out));
}

void RunEvents::on_event(const Event& event) noexcept {
  try {
    const bool finished = std::holds_alternative<event::TaskFinished>(event.body);
    if (finished || std::holds_alternative<event::DiskProgress>(event.body))
      progress(event, finished);
    const Json body = members(event.body);
    if (body.is_null()) return;
    Json out = head(event);
    out.update(body);
    print_(dump(out));
  } catch (const std::exception&) {
    return;  // out of memory: a line less
  }
}

}  // namespace hyperhost
