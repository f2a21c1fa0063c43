// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_record.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/clock.hpp"
#include "core/base/timestamp.hpp"

namespace hyperhost {
namespace {

AuditRecord about(const Event& event, std::string type, std::string action) {
  AuditRecord record;
  record.event_type = std::move(type);
  record.action = std::move(action);
  record.timestamp = event.time;
  if (event.task) {
    record.task_id = event.task->task_id;
    record.vm_name = event.task->vm_name;
    record.provider = event.task->provider;
    record.user = event.task->user;
    record.ip_address = event.task->ip_address;
    record.user_agent = event.task->user_agent;
    record.details.emplace_back("run_id", event.task->run_id);
  }
  return record;
}

AuditRecord run_started(const Event& event, const event::RunStarted& run) {
  AuditRecord record = about(event, "config_change", "run_start");
  record.user = run.user;
  record.status = "started";
  record.description = "Run of plan \"" + run.plan_name + "\" with " +
                       std::to_string(run.tasks.size()) + " migration(s)";
  record.details = {{"run_id", run.run_id}, {"plan", run.plan_name}};
  if (!run.tasks.empty()) {
    record.ip_address = run.tasks.front()->ip_address;
    record.user_agent = run.tasks.front()->user_agent;
  }
  record.milestone = true;
  return record;
}

AuditRecord run_finished(const Event& event, const event::RunFinished& run) {
  AuditRecord record = about(event, "config_change", "run_end");
  record.user = run.user;
  record.success = run.failed + run.cancelled + run.skipped == 0;
  record.status = record.success ? "completed" : run.cancelled != 0 ? "cancelled" : "failed";
  record.duration = run.duration;
  record.description = "Run of plan \"" + run.plan_name +
                       "\" ended: " + std::to_string(run.succeeded) + " succeeded, " +
                       std::to_string(run.failed) + " failed, " + std::to_string(run.cancelled) +
                       " cancelled, " + std::to_string(run.skipped) + " skipped";
  record.details = {{"run_id", run.run_id},
                    {"plan", run.plan_name},
                    {"succeeded", std::to_string(run.succeeded)},
                    {"failed", std::to_string(run.failed)},
                    {"cancelled", std::to_string(run.cancelled)},
                    {"skipped", std::to_string(run.skipped)}};
  record.milestone = true;
  return record;
}

AuditRecord task_started(const Event& event, const event::TaskStarted& started) {
  AuditRecord record = about(event, "migration_start", "migrate");
  record.status = "started";
  record.description = "Migration of \"" + event.task->vm_name + "\" started";
  record.details.emplace_back("provider_name", event.task->provider_name);
  record.details.emplace_back("converter", event.task->converter);
  record.details.emplace_back("target_format", event.task->target_format);
  record.details.emplace_back("disks", std::to_string(started.disks));
  record.details.emplace_back("guest_bytes", std::to_string(started.guest_bytes));
  record.milestone = true;
  return record;
}

AuditRecord task_finished(const Event& event, const event::TaskFinished& finished) {
  const bool success = finished.outcome == Outcome::kSucceeded;
  const char* type = success                                 ? "migration_complete"
                     : finished.outcome == Outcome::kSkipped ? "migration_skipped"
                                                             : "migration_failed";
  AuditRecord record = about(event, type, "migrate");
  record.status =
      finished.outcome == Outcome::kSucceeded ? "completed" : outcome_name(finished.outcome);
  record.description = "Migration of \"" + event.task->vm_name + "\" " + record.status;
  record.duration = finished.duration;
  record.success = success;
  if (!success) record.error = to_string(finished.error);
  record.details.emplace_back("bytes_exported", std::to_string(finished.bytes_exported));
  record.details.emplace_back("bytes_converted", std::to_string(finished.bytes_converted));
  record.details.emplace_back("bytes_uploaded", std::to_string(finished.bytes_uploaded));
  record.resources = finished.files;
  if (!finished.manifest_path.empty()) record.resources.push_back(finished.manifest_path);
  record.milestone = true;
  return record;
}

/// Bounds a line: a message may quote a whole log, a VM may have thousands of files.
constexpr size_t kLongestText = 8192, kMostResources = 100;

std::string clipped(const std::string& text) {
  return text.size() <= kLongestText ? text : text.substr(0, kLongestText) + "…";
}

}  // namespace

std::vector<std::string> audit_event_types() {
  std::vector<std::string> out = {"api_access",         "config_change",    "error",
                                  "migration_complete", "migration_failed", "migration_skipped",
                                  "migration_start",    "warning"};
  for (const StageRow& row : kStageTable)
    for (const char* end : {"_start", "_complete"}) out.push_back(std::string(row.noun) + end);
  std::sort(out.begin(), out.end());
  return out;
}

std::optional<AuditRecord> audit_record(const Event& event) {
  if (const auto* e = std::get_if<event::RunStarted>(&event.body)) return run_started(event, *e);
  if (const auto* e = std::get_if<event::RunFinished>(&event.body)) return run_finished(event, *e);
  if (const auto* e = std::get_if<event::Notice>(&event.body)) {
    if (e->diagnostic.severity == Severity::kInfo) return std::nullopt;
    const bool failure = e->diagnostic.severity == Severity::kError;
    AuditRecord record =
        about(event, failure ? "error" : "warning", e->stage.empty() ? "notice" : e->stage);
    record.status = failure ? "error" : "warning";
    record.description = e->diagnostic.summary;
    record.success = !failure;
    record.error = to_string(e->diagnostic);
    record.details.emplace_back("code", code_name(e->diagnostic.code));
    return record;
  }
  if (!event.task) return std::nullopt;
  if (const auto* e = std::get_if<event::TaskStarted>(&event.body)) return task_started(event, *e);
  if (const auto* e = std::get_if<event::TaskFinished>(&event.body))
    return task_finished(event, *e);
  if (const auto* e = std::get_if<event::StageStarted>(&event.body)) {
    AuditRecord record =
        about(event, std::string(e->stage.row().noun) + "_start", stage_name(e->stage));
    record.status = "started";
    record.description = e->description;
    return record;
  }
  if (const auto* e = std::get_if<event::StageFinished>(&event.body)) {
    AuditRecord record =
        about(event, std::string(e->stage.row().noun) + "_complete", stage_name(e->stage));
    record.status = e->success ? "completed" : "failed";
    record.success = e->success;
    record.duration = e->duration;
    record.details.emplace_back("bytes", std::to_string(e->bytes));
    return record;
  }
  if (const auto* e = std::get_if<event::Retry>(&event.body)) {
    AuditRecord record = about(event, "warning", "retry");
    record.status = "retrying";
    record.description = "Attempt " + std::to_string(e->attempt) + " failed and is repeated";
    record.success = false;
    record.error = to_string(e->diagnostic);
    record.details.emplace_back("stage", e->stage);
    record.details.emplace_back("disk", e->disk_id);
    return record;
  }
  return std::nullopt;
}

nlohmann::ordered_json audit_json(const AuditRecord& record) {
  nlohmann::ordered_json object;
  object["event_type"] = record.event_type;
  object["timestamp"] = format_timestamp(record.timestamp, 6);
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) object[key] = clipped(value);
  };
  put("task_id", record.task_id);
  put("vm_name", record.vm_name);
  put("provider", record.provider);
  put("user", record.user);
  put("ip_address", record.ip_address);
  put("user_agent", record.user_agent);
  put("action", record.action);
  put("description", record.description);
  put("status", record.status);
  if (record.duration) object["duration"] = seconds(*record.duration);
  const auto put_map = [&](const char* key, const auto& pairs) {
    for (const auto& [name, value] : pairs)
      if (!value.empty()) object[key][name] = clipped(value);
  };
  put_map("details", record.details);
  object["success"] = record.success;
  put("error", record.error);
  for (size_t i = 0; i < std::min(record.resources.size(), kMostResources); ++i)
    object["resources"].push_back(clipped(record.resources[i]));
  if (record.resources.size() > kMostResources)
    object["resources"].push_back(std::to_string(record.resources.size() - kMostResources) +
                                  " more");
  put_map("changes", record.changes);
  return object;
}

}  // namespace hyperhost
