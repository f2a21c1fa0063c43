// SPDX-License-Identifier: Apache-2.0
// Takes VMs through the whole lifecycle: Initialize → Start → Export → Convert → Upload → Complete
// → Cleanup. Owns what a run holds open and tells the observers. migrate() may be called from
// several threads at once; everything else belongs to the owner's thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/base/cancel.hpp"
#include "core/events/event.hpp"
#include "core/vm/migration.hpp"
#include "core/watch/audit/audit_logger.hpp"
#include "core/watch/metrics/metrics_collector.hpp"
#include "core/watch/progress/progress_tracker.hpp"
#include "core/watch/webhook/webhook_manager.hpp"

namespace hyperhost {

class PluginRegistry;
class Session;
struct SessionServices;
struct VmRoute;

struct OrchestratorConfig {
  bool enable_conversion = true;  ///< false: every migration copies its disks as delivered
  bool enable_parallel_conversion = true;
  bool enable_cloud_storage = true;
  bool enable_batch_orchestration = true;  ///< false: one VM at a time, whatever the batch says
  bool enable_progress = true;
  bool enable_metrics = true;
  bool enable_audit_logging = false;
  bool enable_webhooks = false;
  AuditOptions audit;                          ///< where enable_audit_logging
  std::vector<WebhookConfig> webhook_configs;  ///< where enable_webhooks
  /// By the name migrations use. A name that is not here is a plugin's id; its options then come
  /// from the environment (environment_options in plugin_defaults.hpp).
  std::map<std::string, PluginChoice> providers;
  std::string user;  ///< for the audit log
  std::string plan_name;
  uint64_t bandwidth_limit = 0;  ///< bytes a second that all uploads together may send; 0 = any
  uint64_t source_bandwidth_limit = 0;  ///< the same of what all sources together deliver
};

struct BatchOptions {
  uint32_t max_parallel = 1;
  bool continue_on_error = true;
  uint32_t max_retries = 0;  ///< further attempts after a retryable failure
  std::chrono::nanoseconds retry_delay{0}, max_retry_delay{0};
  bool cancel_on_error = false;     ///< where continue_on_error is off: running ones too
  uint32_t max_parallel_disks = 0;  ///< of all VMs; 0 = no limit, as below
  uint32_t per_provider = 0, per_host = 0, per_datastore = 0;
  std::size_t checked = SIZE_MAX;            ///< the first so many went through preflight() already
  std::vector<event::TaskMeasured> sizes{};  ///< of the first ones, as preflight() found them
};

class MigrationOrchestrator {
 public:
  /// Initialize. Throws Error where a required audit log cannot be opened. registry: outlives it.
  MigrationOrchestrator(OrchestratorConfig config, PluginRegistry& registry,
                        SessionServices services);
  MigrationOrchestrator(OrchestratorConfig config, PluginRegistry& registry);
  /// With a registry of its own, over PluginRegistry::search_path().
  explicit MigrationOrchestrator(OrchestratorConfig config = {});
  /// close().
  ~MigrationOrchestrator();
  MigrationOrchestrator(const MigrationOrchestrator&) = delete;
  MigrationOrchestrator& operator=(const MigrationOrchestrator&) = delete;

  /// One VM. Never throws for what happens to it: the result says. `cancel` stops it within 2 s.
  /// What config leaves out is completed: the converter, the provider, a relative output_dir.
  MigrationResult migrate(const MigrationConfig& config,
                          std::shared_ptr<CancelSource> cancel = nullptr);

  /// All of them, by priority, as batch allows; results in the order of configs. on_result: each
  /// as it comes, on its worker's thread.
  std::vector<MigrationResult> migrate_batch(
      const std::vector<MigrationConfig>& configs, const BatchOptions& batch = {},
      std::shared_ptr<CancelSource> cancel = nullptr,
      const std::function<void(const MigrationResult&)>& on_result = {});

  /// Everything that can be checked without changing anything, and how each disk would go.
  /// Diagnostics that end it early are findings too: never throws for them.
  VmRoute preflight(const MigrationConfig& config, std::shared_ptr<CancelSource> cancel = nullptr);

  /// Cleanup. Delivers what webhooks have queued (ten seconds at most) and ends the audit log. No
  /// migration may run or begin any more; progress and metrics stay readable. Again: nothing.
  void close();

  /// Stops one VM of the batch that runs, or keeps it from beginning.
  void cancel(const std::string& task_id);
  /// Cancelled: no VM and no disk begins any more, what runs is finished.
  const std::shared_ptr<CancelSource>& draining() const { return draining_; }

  Session& session() { return *session_; }
  EventBus& events() { return events_; }
  /// Null where not enabled.
  ProgressTracker* get_progress_tracker() { return progress_.get(); }
  MetricsCollector* get_metrics_collector() { return metrics_.get(); }
  AuditLogger* get_audit_logger() { return audit_.get(); }
  WebhookManager* get_webhook_manager() { return webhooks_.get(); }
  /// For a host that resolves the hooks' secrets late: as with enable_webhooks. Before the first
  /// migration; at most once. Throws Error for a configuration that cannot work.
  void add_webhooks(std::vector<WebhookConfig> hooks);
  /// Delivers what webhooks have queued (ten seconds at most); they get nothing more.
  void finish_webhooks();

 private:
  friend class BatchOrchestrator;
  MigrationResult attempt(const MigrationConfig& config,
                          const std::shared_ptr<const TaskInfo>& task,
                          const std::shared_ptr<CancelSource>& cancel);
  /// The task's own cancel, also reached by cancel(task_id), until end_task().
  std::shared_ptr<CancelSource> begin_task(const std::string& task_id,
                                           const std::shared_ptr<CancelSource>& cancel);
  void end_task(const std::string& task_id);
  bool task_cancelled(const std::string& task_id);
  std::shared_ptr<const TaskInfo> task_info(const MigrationConfig& config);
  /// What config leaves out, filled in. Throws Error where there is no such plugin.
  MigrationConfig completed(const MigrationConfig& config);
  void add_task_webhooks(const MigrationConfig& config, const std::string& task_id);
  void finish(MigrationResult& result, const std::shared_ptr<const TaskInfo>& task);

  MigrationOrchestrator(OrchestratorConfig config, std::unique_ptr<PluginRegistry> own,
                        PluginRegistry* registry, SessionServices services);

  OrchestratorConfig config_;
  const std::unique_ptr<PluginRegistry> own_registry_;  ///< null: the caller's
  PluginRegistry& registry_;
  const std::unique_ptr<Session> session_;
  EventBus events_;
  std::unique_ptr<ProgressTracker> progress_;
  std::unique_ptr<MetricsCollector> metrics_;
  std::unique_ptr<AuditLogger> audit_;
  std::unique_ptr<WebhookManager> webhooks_;
  std::string run_id_;
  std::atomic<bool> closed_{false};
  const std::shared_ptr<CancelSource> draining_ = CancelSource::create();
  std::mutex tasks_mutex_;
  std::map<std::string, std::shared_ptr<CancelSource>> running_;
  std::set<std::string> cancelled_;
};

/// What is known of a VM's size once its route is planned.
event::TaskMeasured size_of(const VmRoute& route);

/// "20261123-230514-web-01-3f9a0c": sortable, unique, safe as a file name.
std::string make_task_id(const std::string& vm_name);

}  // namespace hyperhost
