// SPDX-License-Identifier: Apache-2.0
// Takes VMs through the whole lifecycle: Initialize → Start → Export → Convert → Upload → Complete
// → Cleanup. Owns what a run holds open and tells the observers. migrate() may be called from
// several threads at once; everything else belongs to the owner's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/migrate/migration.hpp"
#include "core/migrate/route.hpp"
#include "core/migrate/session.hpp"
#include "core/observe/audit_logger.hpp"
#include "core/observe/event.hpp"
#include "core/observe/metrics_collector.hpp"
#include "core/observe/progress_tracker.hpp"

namespace hyperhost {

struct OrchestratorConfig {
  bool enable_conversion = true;  ///< false: every migration copies its disks as delivered
  bool enable_parallel_conversion = true;
  bool enable_cloud_storage = true;
  bool enable_batch_orchestration = true;  ///< false: one VM at a time, whatever the batch says
  bool enable_progress = true;
  bool enable_metrics = true;
  bool enable_audit_logging = false;
  AuditOptions audit;                             ///< where enable_audit_logging
  std::map<std::string, PluginChoice> providers;  ///< by the name migrations use
  std::string user;                               ///< for the audit log
  std::string plan_name;
  uint64_t bandwidth_limit = 0;  ///< bytes a second that all uploads together may send; 0 = any
};

struct BatchOptions {
  uint32_t max_parallel = 1;
  bool continue_on_error = true;
  uint32_t max_retries = 0;  ///< further attempts after a retryable failure
  std::chrono::nanoseconds retry_delay{0}, max_retry_delay{0};
};

class MigrationOrchestrator {
 public:
  /// Initialize. Throws Error where a required audit log cannot be opened.
  MigrationOrchestrator(OrchestratorConfig config, PluginRegistry& registry);
  ~MigrationOrchestrator();
  MigrationOrchestrator(const MigrationOrchestrator&) = delete;
  MigrationOrchestrator& operator=(const MigrationOrchestrator&) = delete;

  /// One VM. Never throws for what happens to it: the result says. `cancel` stops it within 2 s.
  MigrationResult migrate(const MigrationConfig& config,
                          const std::shared_ptr<CancelSource>& cancel);

  /// All of them, by priority, as batch allows; results in the order of configs. on_result: each
  /// as it comes, on its worker's thread.
  std::vector<MigrationResult> migrate_batch(
      const std::vector<MigrationConfig>& configs, const BatchOptions& batch,
      const std::shared_ptr<CancelSource>& cancel,
      const std::function<void(const MigrationResult&)>& on_result = {});

  /// Everything that can be checked without changing anything, and how each disk would go.
  /// Diagnostics that end it early are findings too: never throws for them.
  VmRoute preflight(const MigrationConfig& config, const std::shared_ptr<CancelSource>& cancel);

  Session& session() { return session_; }
  EventBus& events() { return events_; }
  /// Null where not enabled.
  ProgressTracker* get_progress_tracker() { return progress_.get(); }
  MetricsCollector* get_metrics_collector() { return metrics_.get(); }
  AuditLogger* get_audit_logger() { return audit_.get(); }

 private:
  friend class BatchOrchestrator;
  MigrationResult attempt(const MigrationConfig& config,
                          const std::shared_ptr<const TaskInfo>& task,
                          const std::shared_ptr<CancelSource>& cancel);
  std::shared_ptr<const TaskInfo> task_info(const MigrationConfig& config) const;
  void finish(MigrationResult& result, const std::shared_ptr<const TaskInfo>& task);

  OrchestratorConfig config_;
  Session session_;
  EventBus events_;
  std::unique_ptr<ProgressTracker> progress_;
  std::unique_ptr<MetricsCollector> metrics_;
  std::unique_ptr<AuditLogger> audit_;
  std::string run_id_;
};

/// "20261123-230514-web-01-3f9a0c": sortable, unique, safe as a file name.
std::string make_task_id(const std::string& vm_name);

}  // namespace hyperhost
