// SPDX-License-Identifier: Apache-2.0
// The disks get their names together: none before every disk of the VM is written and verified.
#include <algorithm>
#include <filesystem>

#include "core/base/units.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

class Commit final : public VmStage {
 public:
  void check(VmCheck& check) override {
    if (!check.local.is_null()) check_targets(check);
    check_directory(check);
    check_space(check);
  }
  void run(VmRun& run) override;

 private:
  static void check_targets(VmCheck& check);
  static void check_directory(VmCheck& check);
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

// The directory of a VM is made, and the one that holds them; a tree that is missing was misspelt.
void Commit::check_directory(VmCheck& check) {
  const MigrationConfig& job = check.job;
  const auto& disks = check.route.disks;
  if (std::all_of(disks.begin(), disks.end(), [](const auto& disk) { return disk.direct_upload; }))
    return;
  const std::filesystem::path place =
      job.output_file.empty() ? job.output_dir.parent_path() : job.output_dir;
  std::error_code ignored;
  if (place.empty() || std::filesystem::exists(place, ignored)) return;
  Diagnostic finding;
  finding.code = Code::kConfig;
  finding.path = job.pointer.empty() ? "" : "/output_dir";  // said once for all VMs
  finding.summary = "there is no directory " + place.string();
  finding.hint = "make it, if it is spelt as you mean it: mkdir -p " + place.string();
  check.route.findings.push_back(std::move(finding));
}

void Commit::check_space(VmCheck& check) {
  const nlohmann::json& local = check.local;
  if (!local.is_object() || !local.value("free_bytes", nlohmann::json()).is_number_unsigned())
    return;
  const MigrationConfig& job = check.job;
  uint64_t least = 0;
  for (const DiskRoute& disk : check.route.disks) {
    if (disk.direct_upload) continue;
    // What an earlier run has written of it lies there already.
    if (check.route.resume && !job.fresh && check.route.resume->disk(disk.disk.id)) continue;
    least += disk_space(disk, job.convert_options.compression).least;
  }
  const auto free = local["free_bytes"].get<uint64_t>();
  if (least > free)
    check.error(Code::kNoSpace, "", "not enough space in " + job.output_dir.string(),
                "at least " + bytes_text(least) + " are needed, " + bytes_text(free) + " are free");
}

void Commit::run(VmRun& run) {
  run.cancel->check();
  // A prepared disk may have no record of its own by which a later run knows it: the VM's comes
  // first.
  if (run.job.guest.wanted) claim_destination(run);
  for (const auto& disk : run.disks) {
    const bool direct = disk->route().direct_upload;
    const bool replaces = direct ? run.own.objects : run.own.files;
    const bool may_be_found = direct && run.job.export_manifest;
    try {
      disk->commit(run.route.directory, run.op);
    } catch (const UnusableAnswer&) {
      if (!replaces && !may_be_found) run.undo_object(disk->store(run.op), disk->route().key);
      throw;
    }
    if (!replaces && !disk->found_there()) run.undo_object(disk->store(run.op), disk->route().key);
    disk->verify_named(run.op);
    run.result.conversion_size += disk->length();
    run.result.converted_files.push_back(disk->result().path);
    run.result.disks.push_back(disk->result());
  }
  run.stages.end(Stage::kVerify, true, run.result.total_size);
  if (!run.job.guest.wanted) claim_destination(run);
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

}  // namespace

std::unique_ptr<VmStage> commit_stage() {
  return std::make_unique<Commit>();
}

}  // namespace hyperhost
