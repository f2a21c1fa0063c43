// SPDX-License-Identifier: Apache-2.0
// The finished files go to the store; disks that were written there in the first place are only
// accounted for.
#include <algorithm>

#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/vm/result_json.hpp"

namespace hyperhost {
namespace {

class Upload final : public VmStage {
 public:
  std::vector<Stage> announces(const MigrationConfig&) const override { return {Stage::kUpload}; }
  void check(VmCheck& check) override;
  void run(VmRun& run) override;

 private:
  static void send(VmRun& run, const DiskTransfer& disk, DiskResult& result);
};

/// Whether the object is one that an earlier run of the job made: it resumes with it, or takes it
/// over if it turns out to be the same. Of a source that cannot tell whether it has changed there
/// is no record; the upload compares.
bool may_be_own(const VmCheck& check, const std::string& key, const nlohmann::json& there) {
  const ResumeLog* log = check.route.resume.get();
  if (check.is_own(key)) return true;
  if (log == nullptr || check.job.fresh || !check.job.export_manifest) return false;
  for (const DiskRoute& disk : check.route.disks)
    if (disk.key == key && !log->resumable(disk.disk.id)) return true;
  const auto vm = log->vm();
  if (!vm || vm->phase != "finished") return false;  // of a finished VM whose manifest is gone
  for (const auto& one : vm->result.value("disks", nlohmann::json::array())) {
    const DiskResult disk = disk_result_from(one);
    if (disk.key == key && there.value("bytes", nlohmann::json()) == disk.target_bytes) return true;
  }
  return false;
}

/// A raw image is as long as its disk, whatever is on it.
void note_sparse_disks(VmCheck& check) {
  constexpr uint64_t kWorthSaying = uint64_t{256} << 20;
  for (const DiskRoute& route : check.route.disks) {
    const DiskDescription& disk = route.disk;
    const uint64_t data =
        std::min(disk.allocated_bytes.value_or(disk.capacity_bytes), disk.capacity_bytes);
    if (route.target_format != "raw" || disk.capacity_bytes - data < kWorthSaying) continue;
    Diagnostic note;
    note.severity = Severity::kInfo;
    note.code = Code::kOk;
    note.path = "vm/" + check.route.vm.name + "/disk/" + disk.id;
    note.summary = "its raw image takes " + std::to_string(disk.capacity_bytes) + " bytes at " +
                   check.job.cloud_destination + ", of which at most " + std::to_string(data) +
                   " are data";
    note.hint = "another target_format, such as qcow2, holds the data alone";
    check.route.findings.push_back(std::move(note));
  }
}

// The manifest says that a set is complete. The job's own may be there: the run was killed right
// after it.
void Upload::check(VmCheck& check) {
  const MigrationConfig& job = check.job;
  if (check.remote.is_null()) return;
  note_sparse_disks(check);
  if (job.upload_overwrite) return;
  std::vector<std::string> keys;
  for (const DiskRoute& disk : check.route.disks) keys.push_back(disk.key);
  if (job.export_manifest) keys.push_back(check.route.stem + "/manifest.json");
  try {
    StorageHandle& store = check.session.storage(job.storage, check.op);
    for (const std::string& key : keys) {
      const nlohmann::json there = store.stat(check.op, key);
      if (there.is_null() || may_be_own(check, key, there)) continue;
      check.error(Code::kExists, "", "target exists: " + there.value("location", key),
                  "remove it, choose another destination, or set upload: {overwrite: true}");
    }
  } catch (const Error& failure) {
    check.keep(failure);
  }
}

void Upload::send(VmRun& run, const DiskTransfer& disk, DiskResult& result) {
  run.cancel->check();
  StorageHandle& store = run.store();
  const UploadOptions options{run.own.objects, run.job.export_manifest, "file", run.job.presign,
                              [&] { run.undo_object(store, disk.route().key); }};
  const UploadResult uploaded = CloudStorageManager(store).upload_file(
      result.path, disk.route().key, options, run.op, [&](uint64_t done, uint64_t size) {
        run.stages.progress(Stage::kUpload, result.id, done, size);
      });
  result.uploaded_to = uploaded.location;
  result.url = uploaded.url;
  result.set_stored_checksum(uploaded.checksum);
}

void Upload::run(VmRun& run) {
  run.result.cloud_destination = run.job.cloud_destination;
  uint64_t total = 0;
  for (const auto& disk : run.disks) total += disk->length();
  run.stages.announce(Stage::kUpload, total, run.job.cloud_destination);
  run.stages.begin(Stage::kUpload);
  for (std::size_t i = 0; i < run.disks.size(); ++i) {
    DiskTransfer& disk = *run.disks[i];
    DiskResult& result = run.result.disks[i];
    if (run.is_in_store(disk))
      result.uploaded_to = result.path;
    else
      send(run, disk, result);
    run.result.uploaded_files.push_back(result.uploaded_to);
    run.stages.progress(Stage::kUpload, result.id, disk.length(), disk.length());
    run.stages.disk_finished(result.id, true);
  }
  run.result.upload_size = total;
  run.stages.end(Stage::kUpload, true, total);
  run.result.upload_duration = run.stages.duration(Stage::kUpload);
}

}  // namespace

std::unique_ptr<VmStage> upload_stage() {
  return std::make_unique<Upload>();
}

}  // namespace hyperhost
