// SPDX-License-Identifier: Apache-2.0
// One attempt at one VM, from its description to its manifest. An object for one call of run().
#pragma once

#include <memory>
#include <vector>

#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/session.hpp"
#include "core/migrate/stage_log.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

class VmMigration {
 public:
  /// on_planned: called once the VM is known and before anything of it is touched; may throw.
  VmMigration(Session& session, EventBus& events, const MigrationConfig& config,
              std::shared_ptr<const TaskInfo> task, std::shared_ptr<CancelSource> cancel,
              MigrationResult& result, std::function<void(const VmRoute&)> on_planned,
              const CancelSource& draining);

  /// Throws Error for whatever ends it; what it did is undone then, `result` holds what was
  /// measured.
  void run();

 private:
  void export_and_convert();
  /// Disks that earlier attempts have written, and what they left that is of no use.
  void take_over();
  void remove_orphans();
  void claim_destination();
  bool read_again(const Error& failure);
  void convert_disk(const DiskRoute& route, ProviderVmHandle* vm, PendingDisk& out);
  void close_source(std::unique_ptr<ProviderVmHandle>& vm, hyper_st outcome);
  void commit();
  void upload();
  UploadOptions upload_options() const;
  SendLimits send_limits() const;
  void write_manifest();
  void undo(bool keep);
  void drop_pending(bool keep);
  void notice(const Diagnostic& diagnostic, const char* stage);
  std::string description() const;

  Session& session_;
  EventBus& events_;
  MigrationConfig config_;
  const std::shared_ptr<const TaskInfo> task_;
  const std::shared_ptr<CancelSource> cancel_;
  MigrationResult& result_;
  const std::function<void(const VmRoute&)> on_planned_;
  const CancelSource& draining_;
  Operation op_;
  ConversionManager conversions_;
  StageLog stages_;
  VmRoute route_;
  std::mutex notices_mutex_;
  std::vector<PendingDisk> pending_;
  std::vector<bool> ready_;  ///< of pending_: converted, or adopted
  std::vector<std::pair<StorageHandle*, std::string>> committed_;  ///< what undo() removes
};

}  // namespace hyperhost
