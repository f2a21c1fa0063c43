// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/vm_migration.hpp"

#include <algorithm>

#include "core/migrate/plan_route.hpp"
#include "core/migrate/target_disks.hpp"
#include "core/migrate/vm_stage.hpp"
#include "core/state/host_entries.hpp"

namespace hyperhost {
void VmMigration::run() {
  run_.cancel->check();
  run_.route = plan_route(run_.session, run_.job, run_.op);
  run_.result.total_size = 0;
  for (const DiskRoute& disk : run_.route.disks) run_.result.total_size += disk.disk.capacity_bytes;
  run_.result.findings = nlohmann::json::array();
  for (const VmFinding& one : run_.route.predicted)
    run_.result.findings.push_back(finding_json(one));
  on_planned_(run_.route);
  report_findings();
  const auto lock = lock_target();  // also where the VM is done: a kill may have left its lock
  if (run_.route.finished) return restore_finished();
  try {
    go();
  } catch (const Error& failure) {
    undo(worth_keeping(failure.code()));
    throw;
  } catch (...) {
    undo(false);
    throw;
  }
  try {
    // A kill may have come between the name of a disk and the end of its entry; a power cut may
    // have brought an entry back.
    run_.remove_orphans(true);
  } catch (const Error& failure) {  // the journal cannot be read: cleanup does it
    run_.warn(failure, "export");
  }
}

/// Two plans may write one VM into one directory: the second one must not convert all of it first.
std::unique_ptr<OutputLock> VmMigration::lock_target() {
  if (!run_.job.output_file.empty()) return nullptr;  // `hyperhost convert` locks its file
  std::error_code ignored;  // a missing tree was misspelt, and preflight has said so
  std::filesystem::create_directory(run_.job.output_dir, ignored);
  try {
    return OutputLock::of_vm(run_.session.services().journal, run_.job.output_dir, run_.route.stem);
  } catch (const Error& failure) {
    if (failure.code() == Code::kBusy) throw;
    return nullptr;  // nothing is written there, or the transfer will report it
  }
}

void VmMigration::go() {
  const auto stages = stages_of(run_.session.stages(), run_.job);
  for (const auto& stage : stages) stage->resume(run_);
  for (const auto& stage : stages) stage->run(run_);
  settle_at_target(run_);  // before the record: nothing undoes what a finished VM has
  if (ResumeLog* log = run_.resume()) log->finished(run_.result);
  run_.drop_views();
}

void VmMigration::report_findings() {
  std::optional<Diagnostic> first;
  std::string others;
  for (const Diagnostic& finding : run_.route.findings) {
    if (finding.severity != Severity::kError)
      run_.notice(finding, "export");
    else if (!first)
      first = finding;
    else
      others += (others.empty() ? "also: " : "; ") + to_string(finding);
  }
  if (!first) return;
  if (!others.empty()) first->detail += (first->detail.empty() ? "" : "; ") + others;
  throw Error(*first);
}

void VmMigration::restore_finished() {
  run_.resume()->restore(run_.result);
  run_.remove_orphans(true);
  run_.inform("already done by an earlier run: its files are there and unchanged", "export");
  const nlohmann::json& boot = run_.result.boot;  // null where the earlier run had no check
  if (run_.job.boot.wanted && !(boot.is_object() && boot.value("booted", false)))
    run_.warn(Error(Code::kFail, "the earlier run did not show that the VM boots", "",
                    "overwrite: true migrates it again, with the boot check"),
              "boot");
  const TargetSettings& target = run_.job.target;
  const std::string plugin = plugin_id(run_.job.target_plugin.plugin);
  if (target.wanted && !target.by_default &&
      (!run_.result.target.is_object() || run_.result.target.value("plugin", "") != plugin))
    run_.warn(Error(Code::kFail, "the earlier run did not define the VM at '" + plugin + "'", "",
                    "overwrite: true migrates it again, to that target"),
              "export");
}

void VmMigration::undo(bool keep) {
  run_.stages.abandon();
  ResumeLog* log = run_.resume();
  const auto& disks = run_.route.disks;
  const bool something =
      log != nullptr &&
      (log->prepared() || std::any_of(disks.begin(), disks.end(), [&](const DiskRoute& disk) {
         return log->disk(disk.disk.id).has_value();
       }));
  run_.drop_unnamed(keep);
  if (keep && something) {
    run_.inform("what is done so far is kept: run the plan again to go on from there", "convert",
                "hyperhost cleanup removes it");
    return;
  }
  run_.undo.unwind([&](const Error& failure) { run_.warn(failure, "convert"); });
}

}  // namespace hyperhost
