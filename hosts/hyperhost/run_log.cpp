// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/run_log.hpp"

#include <spdlog/spdlog.h>

#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

spdlog::level::level_enum level_of(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return spdlog::level::info;
    case Severity::kWarning:
      return spdlog::level::warn;
    case Severity::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

bool RunLog::begun(const std::string& task_id) {
  const std::lock_guard lock(mutex_);
  return begun_.contains(task_id);
}

void RunLog::on_event(const Event& event) noexcept {
  try {
    const std::string vm = event.task ? event.task->vm_name : std::string("run");
    std::visit(
        Overloaded{
            [&](const event::RunStarted& run) {
              spdlog::info("plan {}: {} {}", run.plan_name, run.tasks.size(),
                           run.tasks.size() == 1 ? "VM" : "VMs");
            },
            [&](const event::RunFinished&) {}, [&](const event::TaskMeasured&) {},
            [&](const event::TaskWaiting& waiting) {
              // That more VMs are in the plan than may run at once needs no line a VM.
              if (waiting.reason == "dependency" || waiting.reason == "window")
                spdlog::log(detail_, "{}: waits: {}", vm, waiting.text);
            },
            [&](const event::TaskStarted& started) {
              {
                const std::lock_guard lock(mutex_);
                begun_.insert(event.task->task_id);
              }
              spdlog::log(detail_, "{}: started, {} {}, {} (task {})", vm, started.disks,
                          started.disks == 1 ? "disk" : "disks", human_bytes(started.guest_bytes),
                          event.task->task_id);
            },
            [&](const event::StageStarted& stage) {
              spdlog::log(detail_, "{}: {} ({})", vm, stage_name(stage.stage), stage.description);
            },
            [&](const event::StageFinished& stage) {
              if (stage.success)
                spdlog::log(detail_, "{}: {} done, {} in {}", vm, stage_name(stage.stage),
                            human_bytes(stage.bytes), human_duration(stage.duration));
            },
            [&](const event::DiskStarted&) {},
            [&](const event::DiskProgress& progress) {
              if (progress.stage == Stage::kExport || progress.bytes_total == 0) return;
              const auto now = std::chrono::steady_clock::now();
              const std::string key =
                  event.task->task_id + progress.disk_id + stage_name(progress.stage);
              {
                const std::lock_guard lock(mutex_);
                auto [found, first] = last_.try_emplace(key, now);
                if (first || now - found->second < std::chrono::seconds(10)) return;
                found->second = now;
              }
              spdlog::log(detail_, "{}: {} {}: {:.1f} %, {} of {}", vm, stage_name(progress.stage),
                          progress.disk_id,
                          100.0 * static_cast<double>(progress.bytes_done) /
                              static_cast<double>(progress.bytes_total),
                          human_bytes(progress.bytes_done), human_bytes(progress.bytes_total));
            },
            [&](const event::DiskFinished&) {},
            [&](const event::Notice& notice) {
              spdlog::log(level_of(notice.diagnostic.severity), "{}: {}", vm,
                          to_string(notice.diagnostic));
            },
            [&](const event::Retry& retry) {
              spdlog::warn("{}: attempt {} failed, again in {}: {}", vm, retry.attempt,
                           human_duration(retry.delay), to_string(retry.diagnostic));
            },
            [&](const event::TaskFinished& finished) {
              if (finished.already_done) return;  // a notice has said it, and nothing was migrated
              if (finished.outcome == Outcome::kSucceeded)
                spdlog::info("{}: migrated in {}", vm, human_duration(finished.duration));
              else if (finished.outcome == Outcome::kCancelled && !begun(event.task->task_id))
                spdlog::debug("{}: {}", vm, to_string(finished.error));  // the report counts them
              else
                spdlog::error("{}: {}: {}", vm, outcome_name(finished.outcome),
                              to_string(finished.error));
            }},
        event.body);
  } catch (...) {  // a log line is not worth a migration
    return;
  }
}

}  // namespace hyperhost
