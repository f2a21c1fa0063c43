// SPDX-License-Identifier: Apache-2.0
// hyperhost run PLAN, hyperhost validate PLAN: the same way up to the first byte.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/plan/plan.hpp"
#include "core/run/bind_plan.hpp"
#include "core/run/watchers.hpp"
#include "core/state/host_entries.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/result_json.hpp"
#include "core/watch/recorder/run_recorder.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/plan_flags.hpp"
#include "hosts/hyperhost/report.hpp"
#include "hosts/hyperhost/run.hpp"
#include "hosts/hyperhost/run_screen.hpp"

namespace hyperhost {
namespace {

constexpr std::chrono::seconds kPreflight{3};
constexpr std::size_t kRunsLookedAt = 100;

bool has_error(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& one) { return one.severity == Severity::kError; });
}

/// A plan on its way to being run.
class PlanRun {
 public:
  PlanRun(Context& context, const RunOptions& options) : context_(context), options_(options) {}

  int run(bool only_check) {
    const bool loaded = load();
    if (only_check) bound_.orchestrator.enable_audit_logging = false;  // it would make a file
    if (!loaded) {
      if (!only_check) audit_failed_plan();
      return stopped(kExitUsage);
    }
    std::unique_ptr<MigrationOrchestrator> orchestrator;
    const auto& cancel = context_.cancel();
    try {
      open_state(only_check);
      orchestrator = std::make_unique<MigrationOrchestrator>(bound_.orchestrator, *registry_,
                                                             SessionServices{state_, state_});
    } catch (const Error& failure) {
      diagnostics_.push_back(failure.diagnostic());
      return stopped(kExitPreflight);
    }
    for (MigrationConfig& config : bound_.migrations) {
      config.fresh = options_.fresh;
      config.continues_since = continues_since_;
    }
    keep(Watchers::check(plan_->observability, plan_->base_dir));
    keep(expand_patterns(bound_, *orchestrator, cancel));
    std::vector<VmRoute> routes;
    if (!has_error(diagnostics_)) {
      const auto begin = std::chrono::steady_clock::now();
      bound_.batch.checked = 0;
      for (const MigrationConfig& config : bound_.migrations) {
        if (cancel->cancelled()) return stopped(kExitInterrupted);
        // A long plan does not keep its first VM waiting: the rest is checked while it runs.
        if (!only_check && std::chrono::steady_clock::now() - begin > kPreflight) break;
        VmRoute route = orchestrator->preflight(config, cancel);
        for (Diagnostic& finding : route.findings)
          if (finding.where.empty() && finding.path.rfind("converter/", 0) != 0)
            finding.where = bound_.specs[bound_.batch.checked]->mark.where();
        keep(route.findings);
        ++bound_.batch.checked;
        directories_.push_back(route.directory);
        for (const DiskRoute& disk : route.disks) guest_bytes_ += disk.disk.capacity_bytes;
        if (only_check) routes.push_back(std::move(route));
      }
      keep(shared_directories());
    }
    if (orchestrator->get_audit_logger() != nullptr)
      audit_findings(*orchestrator->get_audit_logger());
    if (has_error(diagnostics_))
      return stopped(cancel->cancelled() ? kExitInterrupted : kExitPreflight);
    if (only_check) return print_routes(routes);
    // Warnings and notes come again, as events of the VM they concern.
    return migrate(*orchestrator);
  }

 private:
  bool load() {
    PlanOptions changes = options_.changes;
    changes.host_defaults = context_.host_config().defaults;
    PlanResult loaded = options_.text.empty() ? load_plan(options_.plan, changes)
                                              : parse_plan(options_.text, options_.plan, changes);
    keep(loaded.diagnostics);
    plan_ = loaded.plan;
    draft_ = loaded.draft;
    const Plan* plan = plan_ ? plan_.get() : draft_.get();
    if (plan == nullptr) return false;
    std::vector<std::string> dirs;
    for (const auto& dir : plan->plugin_dirs) dirs.push_back(dir.string());
    registry_ = &context_.registry(dirs);
    if (!plan_) {  // what is wrong with plugins' options is said together with the rest
      keep(bind_plan(*draft_, *registry_).diagnostics);
      return false;
    }
    bound_ =
        bind_plan(*plan_, *registry_,
                  options_.converter.empty() ? std::nullopt : std::optional(options_.converter));
    keep(bound_.diagnostics);
    return bound_.ok;
  }

  /// Two VMs by different references may have one name, which only their providers know.
  std::vector<Diagnostic> shared_directories() const {
    std::vector<Diagnostic> problems;
    std::map<std::filesystem::path, std::string> taken;
    for (std::size_t i = 0; i < directories_.size(); ++i) {
      if (directories_[i].empty()) continue;
      const std::string& vm = bound_.migrations[i].vm_name;
      const auto [found, fresh] = taken.try_emplace(directories_[i], vm);
      if (fresh) continue;
      Diagnostic diagnostic;
      diagnostic.code = Code::kConfig;
      diagnostic.where = bound_.specs[i]->mark.where();
      diagnostic.path = bound_.specs[i]->pointer;
      diagnostic.summary = "'" + vm + "' and '" + found->second + "' would share the directory " +
                           found->first.string();
      diagnostic.hint = "give one of them an output_name or another output_dir";
      problems.push_back(std::move(diagnostic));
    }
    return problems;
  }

  void keep(const std::vector<Diagnostic>& more) {
    for (const Diagnostic& one : more) {  // what concerns many VMs is said once
      if (said_.insert(to_string(one)).second) diagnostics_.push_back(one);
    }
  }

  /// What keeps a plan from running is part of the record too.
  void audit_findings(AuditLogger& audit) const {
    for (const Diagnostic& finding : diagnostics_) {
      if (finding.severity != Severity::kError) continue;
      AuditRecord record;
      record.event_type = "error";
      record.user = plan_ ? plan_->user : std::string();
      record.action = "preflight";
      record.status = "failed";
      record.success = false;
      record.error = to_string(finding);
      record.description = "plan " + options_.plan + " cannot run";
      audit.log(record);
    }
  }

  /// The same for a plan that got no orchestrator.
  void audit_failed_plan() {
    const Plan* plan = plan_ ? plan_.get() : draft_.get();
    if (plan == nullptr || !plan->observability.audit_log ||
        !plan->observability.audit_log->path.is_absolute())
      return;
    try {
      const auto audit = AuditLogger::open(audit_options(*plan->observability.audit_log));
      audit_findings(*audit);
    } catch (const Error& failure) {
      diagnostics_.push_back(failure.diagnostic());
    }
  }

  int stopped(int status) const {
    if (context_.json()) {
      nlohmann::json list = nlohmann::json::array();
      for (const Diagnostic& diagnostic : diagnostics_) list.push_back(diagnostic_json(diagnostic));
      context_.print_json({{"plan", options_.plan}, {"ok", false}, {"diagnostics", list}});
      return status;
    }
    context_.print(diagnostics_);
    const auto errors =
        std::count_if(diagnostics_.begin(), diagnostics_.end(),
                      [](const Diagnostic& one) { return one.severity == Severity::kError; });
    context_.say(options_.plan + ": " + std::to_string(errors) +
                 (errors == 1 ? " error" : " errors") + ", nothing was touched");
    return status;
  }

  int print_routes(const std::vector<VmRoute>& routes) const {
    if (context_.json()) {
      nlohmann::json list = nlohmann::json::array(), findings = nlohmann::json::array();
      for (const VmRoute& route : routes) list.push_back(route.to_json());
      for (const Diagnostic& diagnostic : diagnostics_)
        findings.push_back(diagnostic_json(diagnostic));
      context_.print_json(
          {{"plan", options_.plan}, {"ok", true}, {"vms", list}, {"diagnostics", findings}});
      return kExitOk;
    }
    context_.print(diagnostics_);
    for (const VmRoute& route : routes) std::cout << route_text(route);
    std::cout << options_.plan << ": valid, " << routes.size()
              << (routes.size() == 1 ? " VM" : " VMs") << "; nothing was changed\n";
    return kExitOk;
  }

  /// A check looks at what is there and makes nothing.
  void open_state(bool only_check) {
    std::error_code ignored;
    const std::filesystem::path directory = default_state_dir();
    if (only_check && !std::filesystem::exists(directory / "state.db", ignored)) return;
    state_ = StateStore::open(directory, !only_check);
    // What runs of this plan have not come to its end, back to the last one that did?
    for (const RunRecord& run : state_->runs(kRunsLookedAt)) {
      if (run.plan_file != plan_file()) continue;
      const auto tasks = state_->tasks(run.run_id);
      const bool complete =
          run.ended != 0 && std::all_of(tasks.begin(), tasks.end(), [](const TaskRecord& task) {
            return task.status == "succeeded";
          });
      if (complete) break;
      continues_since_ = run.started;
    }
  }

  std::string plan_file() const { return std::filesystem::absolute(options_.plan).string(); }

  /// One host at a time runs a plan into a directory.
  std::vector<std::unique_ptr<OutputLock>> lock_outputs() const {
    std::set<std::filesystem::path> directories;
    for (const MigrationConfig& config : bound_.migrations) directories.insert(config.output_dir);
    std::vector<std::unique_ptr<OutputLock>> locks;
    for (const auto& directory : directories) {
      std::error_code failed;
      std::filesystem::create_directories(directory, failed);
      try {
        locks.push_back(std::make_unique<OutputLock>(state_, directory, plan_->name, plan_->user));
      } catch (const Error& failure) {
        // Nothing is written there (all of it goes to a store), or each VM will say it.
        if (failure.code() == Code::kBusy) throw;
        spdlog::debug("{}", failure.what());
        continue;
      }
      const std::string& from = locks.back()->file().taken_over_from();
      if (!from.empty())
        spdlog::info("{}: the lock of {}, which is gone, is taken over", directory.string(), from);
    }
    return locks;
  }

  int migrate(MigrationOrchestrator& orchestrator) {
    for (const Diagnostic& diagnostic : bound_.diagnostics)
      spdlog::warn("{}", to_string(diagnostic));
    std::unique_ptr<Watchers> watchers;
    std::vector<std::unique_ptr<OutputLock>> locks;
    try {
      locks = lock_outputs();
      watchers = std::make_unique<Watchers>(plan_->observability, plan_->base_dir, orchestrator);
    } catch (const Error& failure) {
      diagnostics_.push_back(failure.diagnostic());
      return stopped(kExitPreflight);
    }
    for (const std::string& line : watchers->describe()) spdlog::info("{}", line);
    auto recorder = std::make_unique<RunRecorder>(
        state_, plan_file(), [&](const std::string& task_id) { orchestrator.cancel(task_id); });
    // Its own share: it may be on its way while the last VM ends and the orchestrator goes.
    context_.on_drain([draining = orchestrator.draining()] { draining->cancel(); });
    orchestrator.events().subscribe(recorder.get());
    std::vector<MigrationResult> results;
    {
      const RunScreen screen(context_, orchestrator, plan_->name, guest_bytes_);
      results = orchestrator.migrate_batch(
          bound_.migrations, bound_.batch, context_.cancel(), [&](const MigrationResult& result) {
            try {
              state_->save_result(result.task_id, to_json(result));
            } catch (const Error& failure) {
              spdlog::warn("the result of {} is not recorded: {}", result.vm_name, failure.what());
            }
          });
    }
    orchestrator.events().unsubscribe(recorder.get());
    context_.on_drain({});
    recorder.reset();
    watchers->finish();
    const std::vector<WebhookStats> hooks = watchers->webhook_stats();
    if (context_.json()) {
      nlohmann::json list = nlohmann::json::array(), told = nlohmann::json::array();
      for (const MigrationResult& result : results) list.push_back(to_json(result));
      for (const WebhookStats& hook : hooks) told.push_back(webhook_json(hook));
      context_.print_json({{"plan", options_.plan}, {"results", list}, {"webhooks", told}});
    } else {
      std::cout << summary_text(results) << webhooks_text(hooks);
    }
    return exit_status(results);
  }

  Context& context_;
  const RunOptions& options_;
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const Plan> draft_;  ///< of a plan with errors
  PluginRegistry* registry_ = nullptr;
  std::shared_ptr<StateStore> state_;
  Millis continues_since_ = 0;
  BoundPlan bound_;
  std::vector<Diagnostic> diagnostics_;
  std::set<std::string> said_;
  std::vector<std::filesystem::path> directories_;  ///< of the VMs that were checked
  uint64_t guest_bytes_ = 0;                        ///< … and their disks' capacities
};

struct PlanCommand {
  RunOptions run;
  WatchFlags watch;
};

CLI::App* add_plan_command(CLI::App& app, const char* name, const char* text, RunOptions& options) {
  CLI::App* command = app.add_subcommand(name, text);
  command->add_option("PLAN", options.plan, "The plan, a YAML file")->required();
  command
      ->add_option(
          "--set", options.changes.overrides,
          "KEY=VALUE over what the plan says, e.g. --set defaults.verify=none (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--converter", options.converter,
                      "The converter plugin, whatever the plan says");
  return command;
}

}  // namespace

int run_plan(Context& context, const RunOptions& options, bool only_check) {
  return PlanRun(context, options).run(only_check);
}

void add_run_commands(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<PlanCommand>();
  CLI::App* run = add_plan_command(app, "run", "Migrate the VMs of a plan", options->run);
  run->add_flag("--dry-run", options->run.dry_run,
                "Check everything, say how each disk would go, change nothing");
  add_progress_option(*run, context);
  add_watch_flags(*run, options->watch);
  run->add_flag("--fresh", options->run.fresh,
                "Begin anew instead of going on where an earlier run of the plan ended; what that "
                "run finished is only replaced with overwrite: true");
  run->footer(
      "SIGTERM: nothing begins any more, the disks that run are finished. SIGINT, or SIGTERM "
      "again:\n"
      "reading and writing stop within two seconds; then the source is given back, which cannot\n"
      "be cancelled and may take minutes. One more signal: leaves at once; what is left at the\n"
      "source then needs `hyperhost cleanup PLAN`. The same command goes on from there.\n\n"
      "Examples:\n"
      "  hyperhost run plan.yaml\n"
      "  hyperhost run plan.yaml --dry-run\n"
      "  hyperhost run plan.yaml --converter qemu-img --set output_dir=/srv/vms\n"
      "  hyperhost run plan.yaml --progress-api-port 8080     (then open http://127.0.0.1:8080)\n"
      "  hyperhost run plan.yaml --progress json 2> events.ndjson\n"
      "  hyperhost --output json run plan.yaml > report.json");
  run->callback([options, &context, &status] {
    add_plan_flags(options->watch, options->run.changes.flags);
    status = run_plan(context, options->run, options->run.dry_run);
  });

  auto check = std::make_shared<RunOptions>();
  CLI::App* validate = add_plan_command(
      app, "validate", "Check a plan whole: syntax, options, VMs, space, targets; changes nothing",
      *check);
  validate->footer(
      "Exit status: 0 it can run, 2 the plan has errors, 3 it is well-formed and cannot run.");
  validate->callback([check, &context, &status] { status = run_plan(context, *check, true); });
}

}  // namespace hyperhost
