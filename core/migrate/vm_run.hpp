// SPDX-License-Identifier: Apache-2.0
// What the stages of one VM share: its job, its route, its disks, how to undo. Owned by
// VmMigration for one attempt. Stages use it from the VM's thread; notice() and operation() may be
// called from any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/migrate/disk_transfer.hpp"
#include "core/migrate/resume_log.hpp"
#include "core/migrate/rollback_stack.hpp"
#include "core/migrate/session.hpp"
#include "core/migrate/stage_log.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// What preflight hands from stage to stage.
struct VmCheck {
  Session& session;
  const MigrationConfig& job;
  Operation& op;
  VmRoute& route;
  nlohmann::json local{};   ///< what the place of local files says of itself; null = no use
  nlohmann::json remote{};  ///< the same of the store; null = no use or none wanted
  bool settled = false;     ///< there is nothing more to check

  void error(Code code, const std::string& disk, std::string summary, std::string hint = {});
  /// Keeps the failure as a finding of the VM, or of one of its disks.
  void keep(const Error& failure, const std::string& disk = {});
  /// Written by an earlier run of the same job that did not come to its end.
  bool is_own(const std::string& key) const;
};

struct VmRun {
  VmRun(Session& session, EventBus& events, const MigrationConfig& job,
        std::shared_ptr<const TaskInfo> task, std::shared_ptr<CancelSource> cancel,
        const CancelSource& draining, MigrationResult& result);

  const MigrationConfig& job;
  Session& session;
  EventBus& events;
  const std::shared_ptr<const TaskInfo> task;
  const std::shared_ptr<CancelSource> cancel;
  const CancelSource& draining;  ///< cancelled: no disk begins any more
  MigrationResult& result;
  Operation op;  ///< of the VM as a whole
  StageLog stages;
  VmRoute route;
  Ownership own;
  std::vector<std::unique_ptr<DiskTransfer>> disks;  ///< as route.disks
  RollbackStack undo;

  ResumeLog* resume() const { return route.resume.get(); }
  StorageHandle& local() { return session.local_storage(job.output_dir, op); }
  StorageHandle& store() { return session.storage(job.storage, op); }
  std::string manifest_key() const { return route.stem + "/manifest.json"; }
  /// The disk is written into the store in the first place.
  bool is_in_store(DiskTransfer& disk) { return &disk.store(op) == &store(); }
  bool keeps_local_files() const { return !job.upload_to_cloud || job.keep_local; }

  /// For a disk (`of` = "web-01/disk-0") or for the VM; sends at the job's rate.
  Operation operation(const std::string& of) const;
  /// One that nothing cancels: undoing must not be interrupted.
  Operation undoing() const;
  void notice(const Diagnostic& diagnostic, const char* stage);
  void inform(std::string summary, const char* stage, std::string hint = {});
  /// The same, as a warning.
  void warn(const Error& failure, const char* stage);
  /// Where a disk reports how far it is.
  OnStageProgress on_progress(const std::string& disk_id);
  /// A failure of the VM that keeps nothing removes this object, which was not there before.
  void undo_object(StorageHandle& store, const std::string& key);
  /// Disks that are written but have no name: those a later run can use stay where `keep`.
  void drop_unnamed(bool keep);
  /// Of a VM that is finished: no later run needs the views of its preparation.
  void drop_views();
  /// Closes journal entries of this VM that a killed run left and that no record speaks of.
  /// `finished`: every file and object of the VM has its name.
  void remove_orphans(bool finished);

 private:
  std::mutex notices_mutex_;
};

}  // namespace hyperhost
