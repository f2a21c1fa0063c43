// SPDX-License-Identifier: Apache-2.0
// One plan from its text to its results: load, bind, preflight, lock, run. A command line, a daemon
// or a program that links the core owns one for each run and prints what it likes. The owner's
// thread; draining and cancelling from any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/run/bind_plan.hpp"
#include "core/run/plan_estimate.hpp"
#include "core/run/watchers.hpp"
#include "core/state/host_entries.hpp"
#include "core/state/run_state.hpp"

namespace hyperhost {

class RunRecorder;
class StateStore;

struct PlanRunOptions {
  std::string plan;       ///< the file; how messages call the plan where it has a text
  std::string text;       ///< the plan itself; empty: it is read from the file
  PlanOptions changes;    ///< --set, flags and the host's defaults
  std::string converter;  ///< "" = as the plan says
  bool fresh = false;     ///< resume nothing that an earlier run left
};

/// What a plan runs in.
struct PlanHost {
  /// The plugins of the host, looked for in the plan's directories first.
  std::function<PluginRegistry&(const std::vector<std::string>& plan_dirs)> registry;
  std::shared_ptr<CancelSource> cancel;
  std::filesystem::path state_dir;
};

enum class PlanStatus {
  kReady,
  kWrong,        ///< the plan has errors
  kCannotRun,    ///< it is well-formed, and something is in its way
  kInterrupted,  ///< cancelled before anything was touched
};

class PlanRun {
 public:
  PlanRun(PlanHost host, PlanRunOptions options);
  ~PlanRun();
  PlanRun(const PlanRun&) = delete;
  PlanRun& operator=(const PlanRun&) = delete;

  /// Reads, binds and checks the plan: every VM for a few seconds, the others while it runs.
  /// Touches nothing but the audit log and the state directory.
  PlanStatus prepare();
  /// The same for every VM, and without audit log and state directory: `validate`, --dry-run.
  PlanStatus check();

  /// Takes the locks of the output directories, starts what watches. After prepare() was kReady.
  PlanStatus start();
  /// Migrates the VMs, in the order of the plan. on_result: each as it ends, on its worker's
  /// thread.
  std::vector<MigrationResult> run(
      const std::function<void(const MigrationResult&)>& on_result = {});
  /// Delivers what webhooks have queued. Results are final afterwards.
  std::vector<WebhookStats> finish();
  /// Keeps the metrics up until a Prometheus that scrapes them has seen the end; after finish().
  void wait_for_scrape();

  /// All that was found so far, each once. Errors and warnings have file, line and column.
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  /// Of check(): how each VM would go.
  const std::vector<VmRoute>& routes() const { return routes_; }
  /// The plan with its plugins; after prepare() or check() was kReady.
  const BoundPlan& bound() const { return bound_; }
  /// After prepare() or check() was kReady.
  MigrationOrchestrator& orchestrator() { return *orchestrator_; }
  const std::string& name() const { return plan_->name; }
  /// Of the VMs that preflight has seen.
  const PlanEstimate& estimate() const { return estimate_; }
  uint64_t guest_bytes() const { return estimate_.guest_bytes; }

 private:
  PlanStatus prepare(bool only_check);
  bool load();
  void open_state(bool only_check);
  void find_unfinished_runs();
  PlanStatus preflight(bool only_check);
  void let_others_run(std::vector<std::vector<Diagnostic>>& found) const;
  std::vector<Diagnostic> shared_directories() const;
  void warn_of_leftovers();
  void keep(const std::vector<Diagnostic>& more);
  void keep(const Error& failure);
  void audit_findings(AuditLogger& audit) const;
  void audit_failed_plan();
  void lock_outputs();
  void record(const MigrationResult& result);
  std::string plan_file() const;

  const PlanHost host_;
  const PlanRunOptions options_;
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const Plan> draft_;  ///< of a plan with errors
  PluginRegistry* registry_ = nullptr;
  std::shared_ptr<StateStore> state_;
  Millis continues_since_ = 0;
  BoundPlan bound_;
  std::vector<Diagnostic> diagnostics_;
  std::set<std::string> said_;
  std::vector<VmRoute> routes_;
  std::vector<std::filesystem::path> directories_;  ///< of the VMs that were checked
  PlanEstimate estimate_;
  std::unique_ptr<MigrationOrchestrator> orchestrator_;
  std::vector<std::unique_ptr<OutputLock>> locks_;
  std::unique_ptr<Watchers> watchers_;
};

}  // namespace hyperhost
