// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/vm_run.hpp"

#include <algorithm>
#include <filesystem>

namespace hyperhost {
namespace {

SendLimits send_limits(const Session& session, const MigrationConfig& job,
                       const std::string& task_id) {
  if (!job.upload_to_cloud) return {};
  return {session.bandwidth(), session.bandwidth()->of_task(task_id, job.bandwidth_limit)};
}

}  // namespace

void VmCheck::error(Code code, const std::string& disk, std::string summary, std::string hint) {
  Diagnostic out;
  out.code = code;
  out.path = "vm/" + route.vm.name + (disk.empty() ? "" : "/disk/" + disk);
  out.summary = std::move(summary);
  out.hint = std::move(hint);
  route.findings.push_back(std::move(out));
}

void VmCheck::keep(const Error& failure, const std::string& disk) {
  Diagnostic diagnostic = failure.diagnostic();
  if (diagnostic.path.empty())
    diagnostic.path = "vm/" + route.vm.name + (disk.empty() ? "" : "/disk/" + disk);
  route.findings.push_back(std::move(diagnostic));
}

bool VmCheck::is_own(const std::string& key) const {
  if (!route.resume || job.fresh) return false;
  if (key == route.stem + "/manifest.json" || job.guest.wanted) {
    const auto record = route.resume->vm();
    return record && record->phase == "closing";
  }
  for (const DiskRoute& disk : route.disks) {
    if (disk.key != key) continue;
    const auto record = route.resume->disk(disk.disk.id);
    return record && record->phase == "written";
  }
  return false;
}

VmRun::VmRun(Session& session_in, EventBus& events_in, const MigrationConfig& job_in,
             std::shared_ptr<const TaskInfo> task_in, std::shared_ptr<CancelSource> cancel_in,
             const CancelSource& draining_in, MigrationResult& result_in)
    : job(job_in),
      session(session_in),
      events(events_in),
      task(std::move(task_in)),
      cancel(std::move(cancel_in)),
      draining(draining_in),
      result(result_in),
      op(session.operation(job.vm_name, cancel)),
      stages(events, task),
      own{job.overwrite, job.upload_overwrite} {
  op.limit_sending(send_limits(session, job, task->task_id));
}

Operation VmRun::operation(const std::string& of) const {
  return session.operation(of, cancel, send_limits(session, job, task->task_id));
}

Operation VmRun::undoing() const {
  return session.operation(route.vm.name, CancelSource::create());
}

void VmRun::notice(const Diagnostic& diagnostic, const char* stage) {
  {
    const std::lock_guard lock(notices_mutex_);
    if (diagnostic.severity == Severity::kWarning) result.warnings.push_back(diagnostic);
  }
  events.publish(task, event::Notice{diagnostic, stage});
}

void VmRun::inform(std::string summary, const char* stage, std::string hint) {
  Diagnostic diagnostic;
  diagnostic.severity = Severity::kInfo;
  diagnostic.code = Code::kOk;
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  notice(diagnostic, stage);
}

void VmRun::warn(const Error& failure, const char* stage) {
  Diagnostic diagnostic = failure.diagnostic();
  diagnostic.severity = Severity::kWarning;
  notice(diagnostic, stage);
}

OnStageProgress VmRun::on_progress(const std::string& disk_id) {
  return [this, disk_id](Stage stage, uint64_t done, uint64_t total, bool adopted) {
    if (adopted)
      stages.adopted(stage, disk_id, done, total);
    else
      stages.progress(stage, disk_id, done, total);
  };
}

void VmRun::undo_object(StorageHandle& store, const std::string& key) {
  undo.push([this, &store, key] {
    Operation op_here = undoing();
    store.remove(op_here, key);
  });
}

void VmRun::drop_views() {
  bool any = false;
  for (const auto& disk : disks) any = disk->drop_view() || any;
  std::error_code ignored;  // a view may have been the last file in it
  if (any && !keeps_local_files()) std::filesystem::remove(route.directory, ignored);
}

void VmRun::drop_unnamed(bool keep) {
  Operation op_here = undoing();
  for (const auto& disk : disks)
    if (disk) disk->drop(op_here, keep);
  disks.clear();
}

}  // namespace hyperhost
