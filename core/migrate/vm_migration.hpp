// SPDX-License-Identifier: Apache-2.0
// One attempt at one VM: the loop over its stages. An object for one call of run().
#pragma once

#include <functional>
#include <memory>

#include "core/migrate/vm_run.hpp"

namespace hyperhost {

class OutputLock;

class VmMigration {
 public:
  /// on_planned: called once the VM is known and before anything of it is touched; may throw.
  VmMigration(Session& session, EventBus& events, const MigrationConfig& job,
              std::shared_ptr<const TaskInfo> task, std::shared_ptr<CancelSource> cancel,
              MigrationResult& result, std::function<void(const VmRoute&)> on_planned,
              const CancelSource& draining)
      : run_(session, events, job, std::move(task), std::move(cancel), draining, result),
        on_planned_(std::move(on_planned)) {}

  /// Throws Error for whatever ends it. What it did is undone then; the result holds what was
  /// measured.
  void run();

 private:
  /// Throws the findings that keep it from starting; the others become notices.
  void report_findings();
  void restore_finished();
  std::unique_ptr<OutputLock> lock_target();
  void go();
  void undo(bool keep);

  VmRun run_;
  const std::function<void(const VmRoute&)> on_planned_;
};

}  // namespace hyperhost
