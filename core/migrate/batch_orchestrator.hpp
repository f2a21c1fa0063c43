// SPDX-License-Identifier: Apache-2.0
// Runs the migrations of a plan: by priority, a bounded number at once, going on or stopping after
// a failure, trying again what may succeed later. An object for one call of run().
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/migrate/orchestrator.hpp"

namespace hyperhost {

class BatchOrchestrator {
 public:
  BatchOrchestrator(MigrationOrchestrator& orchestrator, const BatchOptions& options)
      : orchestrator_(orchestrator), options_(options) {}

  /// Results in the order of configs: those never begun are cancelled (the run was) or skipped (an
  /// earlier one failed and continue_on_error is off).
  std::vector<MigrationResult> run(const std::vector<MigrationConfig>& configs,
                                   const std::shared_ptr<CancelSource>& cancel,
                                   const std::function<void(const MigrationResult&)>& on_result);

 private:
  MigrationResult run_one(const MigrationConfig& config,
                          const std::shared_ptr<const TaskInfo>& task,
                          const std::shared_ptr<CancelSource>& cancel);
  std::chrono::nanoseconds delay(uint32_t attempt, const Diagnostic& failure) const;

  MigrationOrchestrator& orchestrator_;
  const BatchOptions options_;
};

}  // namespace hyperhost
