// SPDX-License-Identifier: Apache-2.0
// The finished files go to the store; disks that were written there in the first place are only
// accounted for.
#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"

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

// The manifest says that a set is complete. Disks without it were left by a killed run: it resumes
// with them if they turn out to be the same. The job's own manifest may be there, too: the run was
// killed right after it.
void Upload::check(VmCheck& check) {
  const MigrationConfig& job = check.job;
  if (check.remote.is_null() || job.upload_overwrite) return;
  std::vector<std::string> keys;
  if (job.export_manifest)
    keys.push_back(check.route.stem + "/manifest.json");
  else
    for (const DiskRoute& disk : check.route.disks) keys.push_back(disk.key);
  try {
    StorageHandle& store = check.session.storage(job.storage, check.op);
    for (const std::string& key : keys) {
      const nlohmann::json there = store.stat(check.op, key);
      if (there.is_null() || check.is_own(key)) continue;
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
  const UploadOptions options{run.own.objects, run.job.export_manifest, "file", run.job.presign};
  const UploadResult uploaded = CloudStorageManager(store).upload_file(
      result.path, disk.route().key, options, run.op, [&](uint64_t done, uint64_t size) {
        run.stages.progress(Stage::kUpload, result.id, done, size);
      });
  if (!run.own.objects && !uploaded.adopted)
    run.undo.push([&run, &store, key = disk.route().key] {
      Operation op = run.undoing();
      store.remove(op, key);
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
