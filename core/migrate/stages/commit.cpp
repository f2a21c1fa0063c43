// SPDX-License-Identifier: Apache-2.0
// The disks get their names together: none before every disk of the VM is written and verified.
#include <algorithm>

#include "core/migrate/least_bytes.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

class Commit final : public VmStage {
 public:
  void check(VmCheck& check) override {
    if (!check.local.is_null()) check_targets(check);
    check_space(check);
  }
  void run(VmRun& run) override;

 private:
  static void check_targets(VmCheck& check);
  static void check_space(VmCheck& check);
  static void claim_destination(VmRun& run);
};

void Commit::check_targets(VmCheck& check) {
  const MigrationConfig& job = check.job;
  if (job.overwrite) return;
  StorageHandle& local = check.session.local_storage(job.output_dir, check.op);
  std::vector<std::string> keys;
  for (const DiskRoute& disk : check.route.disks)
    if (!disk.direct_upload) keys.push_back(disk.key);
  if (job.export_manifest) keys.push_back(check.route.stem + "/manifest.json");
  for (const std::string& key : keys) {
    if (local.stat(check.op, key).is_null() || check.is_own(key)) continue;
    check.error(Code::kExists, "", "target exists: " + (job.output_dir / key).string(),
                "remove it, choose another output_dir, or set overwrite: true");
  }
}

void Commit::check_space(VmCheck& check) {
  const nlohmann::json& local = check.local;
  if (!local.is_object() || !local.value("free_bytes", nlohmann::json()).is_number_unsigned())
    return;
  const uint64_t least = least_bytes(check.job, check.route);
  const auto free = local["free_bytes"].get<uint64_t>();
  if (least > free)
    check.error(Code::kNoSpace, "", "not enough space in " + check.job.output_dir.string(),
                "at least " + std::to_string(least) + " bytes are needed, " + std::to_string(free) +
                    " are free");
}

void Commit::run(VmRun& run) {
  run.cancel->check();
  for (const auto& disk : run.disks) {
    disk->commit(run.route.directory, run.op);
    const bool replaces = disk->route().direct_upload ? run.own.objects : run.own.files;
    if (!replaces && !disk->found_there())
      run.undo.push([&run, store = &disk->store(run.op), key = disk->route().key] {
        Operation op = run.undoing();
        store->remove(op, key);
      });
    disk->verify_named(run.op);
    run.result.conversion_size += disk->length();
    run.result.converted_files.push_back(disk->result().path);
    run.result.disks.push_back(disk->result());
  }
  run.stages.end(Stage::kVerify, true, run.result.total_size);
  claim_destination(run);
}

// From here on what has this VM's names at the destination is its own: it was not there before.
void Commit::claim_destination(VmRun& run) {
  ResumeLog* log = run.resume();
  if (log == nullptr) return;
  if (const auto vm = log->vm(); vm && vm->phase == "closing" && !run.job.fresh) {
    run.own.files = true;
    return;
  }
  if (run.job.upload_to_cloud && !run.own.objects) {
    std::vector<std::string> keys;
    for (const auto& disk : run.disks)
      if (!run.is_in_store(*disk)) keys.push_back(disk->route().key);
    if (run.job.export_manifest) keys.push_back(run.manifest_key());
    for (const std::string& key : keys)
      if (!run.store().stat(run.op, key).is_null())
        throw Error(Code::kExists, key + " exists at " + run.job.cloud_destination, "",
                    "remove it, choose another destination, or set upload.overwrite: true");
  }
  log->closing();
}

/// What an earlier run has written of the disk already.
uint64_t written_before(const ResumeLog& log, const DiskRoute& disk) {
  const auto record = log.disk(disk.disk.id);
  if (!record) return 0;
  const nlohmann::json& from = record->phase == "written" ? record->result : record->state;
  const auto length = from.find("length");
  return length != from.end() && length->is_number_unsigned() ? length->get<uint64_t>() : 0;
}

}  // namespace

uint64_t least_bytes(const MigrationConfig& job, const VmRoute& route) {
  const Compression compression = job.convert_options.compression;
  const bool shrinks = compression == Compression::kZlib || compression == Compression::kZstd;
  uint64_t least = 0;
  for (const DiskRoute& disk : route.disks) {
    if (route.finished || disk.direct_upload || (shrinks && disk.converted)) continue;
    const uint64_t stored = disk.disk.allocated_bytes.value_or(
        disk.disk.format == "raw" ? 0 : disk.disk.source_bytes.value_or(0));
    const uint64_t image = std::min(stored, disk.disk.capacity_bytes);
    const uint64_t there =
        route.resume && !job.fresh ? written_before(*route.resume, disk) : uint64_t{0};
    least += image - std::min(image, there);
  }
  return least;
}

std::unique_ptr<VmStage> commit_stage() {
  return std::make_unique<Commit>();
}

}  // namespace hyperhost
