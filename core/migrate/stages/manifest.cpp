// SPDX-License-Identifier: Apache-2.0
// The manifest comes last: its presence means that the set is complete. Only then may local files
// go that the plan does not keep.
#include <filesystem>

#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/vm/manifest.hpp"

namespace hyperhost {
namespace {

class Manifest final : public VmStage {
 public:
  void run(VmRun& run) override {
    write_changes(run);
    run.result.machine =
        machine_to_build(run.job.target.machine, run.job.target, run.route, run.result.guest);
    if (run.job.export_manifest) write(run);
    if (!run.keeps_local_files()) remove_local_files(run);
  }

 private:
  static void write(VmRun& run);
  static void write_changes(VmRun& run);
  static void remove_local_files(VmRun& run);
};

/// The lists of what a preparation changed, each beside its disk.
void Manifest::write_changes(VmRun& run) {
  for (const auto& disk : run.disks) {
    const std::string text = disk->changes_text();
    if (text.empty()) continue;
    run.cancel->check();
    const std::string key = run.route.stem + "/" + disk->result().changes_file;
    const auto put = [&](StorageHandle& store, bool own, bool adopt, const char* durability) {
      const UploadOptions options{own, adopt, durability, {}, [&] { run.undo_object(store, key); }};
      return CloudStorageManager(store).upload_text(text, key, options, run.op).location;
    };
    if (run.job.upload_to_cloud)
      run.result.uploaded_files.push_back(put(run.store(), run.own.objects, true, "file"));
    if (run.keeps_local_files())
      put(run.local(), run.own.files, false, durability_name(run.job.durability));
  }
}

void Manifest::write(VmRun& run) {
  run.cancel->check();
  const std::string text = make_manifest(run.job, run.route, run.result).dump(2) + "\n";
  const std::string key = run.manifest_key();
  if (run.job.upload_to_cloud) {
    StorageHandle& store = run.store();
    const UploadOptions options{run.own.objects, false, "file", run.job.presign,
                                [&] { run.undo_object(store, key); }};
    const UploadResult uploaded =
        CloudStorageManager(store).upload_text(text, key, options, run.op);
    run.result.uploaded_files.push_back(uploaded.location);
    run.result.manifest_url = uploaded.url;
    if (!run.keeps_local_files()) run.result.manifest_path = uploaded.location;
  }
  if (run.keeps_local_files()) {
    const UploadOptions options{run.own.files, false, durability_name(run.job.durability), {}, [&] {
                                  run.undo_object(run.local(), key);
                                }};
    run.result.manifest_path =
        CloudStorageManager(run.local()).upload_text(text, key, options, run.op).location;
  }
}

void Manifest::remove_local_files(VmRun& run) {
  for (const auto& disk : run.disks)
    if (!disk->route().direct_upload) run.local().remove(run.op, disk->route().key);
  std::error_code ignored;
  std::filesystem::remove(run.route.directory, ignored);
}

}  // namespace

std::unique_ptr<VmStage> manifest_stage() {
  return std::make_unique<Manifest>();
}

}  // namespace hyperhost
