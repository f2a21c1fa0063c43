// SPDX-License-Identifier: Apache-2.0
// Out of the source, through the converter, verified: nothing has its final name afterwards.
#include <algorithm>
#include <filesystem>

#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/plan_route.hpp"
#include "core/migrate/preparation.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/structure_check.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

class Transfer final : public VmStage {
 public:
  std::vector<Stage> announces(const MigrationConfig& job) const override {
    std::vector<Stage> out{Stage::kExport};
    if (job.enable_conversion) out.push_back(Stage::kConvert);
    if (job.enable_conversion && job.verify_export != Verify::kNone) out.push_back(Stage::kVerify);
    return out;
  }
  void check(VmCheck& check) override {
    plan_disks(check);
    if (check.job.guest.wanted && !check.route.finished) check_preparation(check);
  }
  void resume(VmRun& run) override;
  void run(VmRun& run) override;

 private:
  static void announce(VmRun& run);
  static void report_adopted(VmRun& run);
  static std::unique_ptr<ProviderVmHandle> open_source(VmRun& run);
  static void close_source(VmRun& run, std::unique_ptr<ProviderVmHandle>& vm, hyper_st outcome);
};

/// What a failure that nothing can be made of takes away at last.
void push_undo(VmRun& run) {
  run.undo.push([&run] {
    std::error_code ignored;  // only an empty directory goes, and only the VM's own
    if (run.job.output_file.empty()) std::filesystem::remove(run.route.directory, ignored);
  });
  ResumeLog* log = run.resume();
  if (log == nullptr) return;
  run.undo.push([&run, log] {
    Operation op = run.undoing();
    for (const DiskRoute& disk : run.route.disks) {
      const auto record = log->disk(disk.disk.id);
      if (!record) continue;
      try {
        discard(run.session, run.job, *record, op);
      } catch (const Error&) {
        // The journal has it; cleanup tries again.
      }
    }
    log->forget();
  });
}

void discard_all(VmRun& run, ResumeLog& log) {
  for (const DiskRoute& disk : run.route.disks)
    if (const auto record = log.disk(disk.disk.id)) discard(run.session, run.job, *record, run.op);
  for (const ResumeRecord& record : log.stale()) discard(run.session, run.job, record, run.op);
  log.forget();
}

void Transfer::resume(VmRun& run) {
  ResumeLog* log = run.resume();
  push_undo(run);
  for (const DiskRoute& disk : run.route.disks)
    run.disks.push_back(std::make_unique<DiskTransfer>(run.session, run.job, disk, run.own, log,
                                                       run.on_progress(disk.disk.id)));
  if (log == nullptr) return;
  if (run.job.fresh) {
    discard_all(run, *log);
  } else {
    for (const ResumeRecord& record : log->stale()) {
      run.inform("what an earlier run wrote of " + record.disk +
                     " is removed, and the disk starts from the front: " + log->why_stale(record),
                 "export");
      discard(run.session, run.job, record, run.op);
      log->forget(record.disk);
    }
    // What is at the destination is this VM's own, as far as it came.
    if (const auto vm = log->vm(); vm && vm->phase == "closing") {
      run.own.objects = true;
      run.own.files = run.own.files || run.job.guest.wanted;  // they are made again
    }
    for (const auto& disk : run.disks) disk->adopt(run.op);
  }
  run.remove_orphans(false);
}

void Transfer::announce(VmRun& run) {
  uint64_t source_bytes = 0;
  bool known = true;
  std::string how;
  for (const DiskRoute& disk : run.route.disks) {
    const auto bytes = disk.staged ? disk.disk.source_bytes : disk.disk.bytes_to_read();
    known = known && bytes.has_value();
    source_bytes += bytes.value_or(0);
    how += (how.empty() ? "" : "; ") + disk.disk.id + ": " + disk.why;
  }
  run.stages.announce(Stage::kExport, known ? source_bytes : 0, how);
  run.stages.announce(Stage::kConvert, run.result.total_size, run.job.converter.plugin);
  const uint64_t passes = run.job.verify_export == Verify::kSource ? 2 : 1;
  run.stages.announce(Stage::kVerify, passes * run.result.total_size,
                      verify_name(run.job.verify_export));
  // A disk that is written straight into the store begins it.
  if (run.job.upload_to_cloud) run.stages.announce(Stage::kUpload, 0, run.job.cloud_destination);
  run.stages.begin(Stage::kExport);
}

void Transfer::report_adopted(VmRun& run) {
  for (const auto& disk : run.disks) {
    if (!disk->written()) continue;
    const DiskResult& done = disk->result();
    run.stages.adopted(Stage::kExport, done.id, done.source_bytes, done.source_bytes);
    run.stages.adopted(Stage::kConvert, done.id, done.virtual_size, done.virtual_size);
    run.stages.disk_finished(done.id, true);
  }
}

/// Null where no disk is to be read.
std::unique_ptr<ProviderVmHandle> Transfer::open_source(VmRun& run) {
  if (std::all_of(run.disks.begin(), run.disks.end(),
                  [](const auto& disk) { return disk->written() || disk->route().disk.blank; }))
    return nullptr;
  nlohmann::json request = vm_request(run.job, run.route.vm.ref, run.result.task_id);
  for (const DiskRoute& disk : run.route.disks)
    if (!disk.disk.content_id.empty()) request["content_ids"][disk.disk.id] = disk.disk.content_id;
  run.op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "export"); });
  auto vm = run.session.provider(run.job.provider, run.op).open_vm(run.op, request);
  run.op.on_notice({});
  return vm;
}

void Transfer::close_source(VmRun& run, std::unique_ptr<ProviderVmHandle>& vm, hyper_st outcome) {
  if (!vm) return;
  Operation op = run.undoing();
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "export"); });
  try {
    vm->close(op, outcome);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.detail = "something may be left at the source" +
                        (diagnostic.detail.empty() ? "" : ": " + diagnostic.detail);
    run.warn(Error(diagnostic), "export");
  }
  vm.reset();
}

void Transfer::run(VmRun& run) {
  announce(run);
  report_adopted(run);
  std::unique_ptr<ProviderVmHandle> vm = open_source(run);
  const auto measure = [&] {
    run.result.export_size = 0;
    for (const auto& disk : run.disks) run.result.export_size += disk->moved_bytes();
    run.result.export_duration = run.stages.duration(Stage::kExport);
    run.result.conversion_duration = run.stages.duration(Stage::kConvert);
    run.result.verify_duration = run.stages.duration(Stage::kVerify);
  };
  const auto give_back = [&](bool keep) {
    measure();
    run.drop_unnamed(keep);  // temporary files go before the source is given back
    close_source(run, vm, HYPER_FAIL);
  };
  try {
    check_structures(run, vm.get());
    if (run.job.guest.wanted) prepare_guest(run, vm.get());
    ConversionManager(run).convert_all(vm.get());
  } catch (const Error& failure) {
    give_back(worth_keeping(failure.code()));
    throw;
  } catch (...) {
    give_back(false);
    throw;
  }
  measure();
  uint64_t converted = 0;
  for (const auto& disk : run.disks) {
    converted += disk->result().virtual_size;
    run.result.exported_files.push_back(disk->result().source_file);
  }
  run.stages.end(Stage::kExport, true, run.result.export_size);
  run.stages.end(Stage::kConvert, true, converted);
  run.stages.end(Stage::kVerify, true, converted);
  close_source(run, vm, HYPER_OK);
}

}  // namespace

std::unique_ptr<VmStage> transfer_stage() {
  return std::make_unique<Transfer>();
}

}  // namespace hyperhost
