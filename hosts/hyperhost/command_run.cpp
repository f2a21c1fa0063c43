// SPDX-License-Identifier: Apache-2.0
// hyperhost run PLAN, hyperhost validate PLAN: the same way up to the first byte.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/run/plan_run.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/result_json.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/guest_inspection.hpp"
#include "hosts/hyperhost/plan_flags.hpp"
#include "hosts/hyperhost/plan_report.hpp"
#include "hosts/hyperhost/report.hpp"
#include "hosts/hyperhost/run.hpp"
#include "hosts/hyperhost/run_screen.hpp"

namespace hyperhost {
namespace {

int exit_of(PlanStatus status) {
  switch (status) {
    case PlanStatus::kReady:
      return kExitOk;
    case PlanStatus::kWrong:
      return kExitUsage;
    case PlanStatus::kInterrupted:
      return kExitInterrupted;
    case PlanStatus::kCannotRun:
      break;
  }
  return kExitPreflight;
}

nlohmann::json diagnostics_json(const PlanRun& run) {
  nlohmann::json list = nlohmann::json::array();
  for (const Diagnostic& one : run.diagnostics()) list.push_back(diagnostic_json(one));
  return list;
}

int print_refusal(const Context& context, const RunOptions& options, const PlanRun& run,
                  PlanStatus status) {
  if (context.json()) {
    context.print_json(
        {{"plan", options.plan}, {"ok", false}, {"diagnostics", diagnostics_json(run)}});
    return exit_of(status);
  }
  context.print(run.diagnostics());
  std::cout << findings_table(run.routes());
  const auto errors =
      std::count_if(run.diagnostics().begin(), run.diagnostics().end(),
                    [](const Diagnostic& one) { return one.severity == Severity::kError; });
  context.say(options.plan + ": " + std::to_string(errors) + (errors == 1 ? " error" : " errors") +
              ", nothing was touched");
  return exit_of(status);
}

/// inspected: what `validate` found in guests.
int print_routes(const Context& context, const RunOptions& options, const PlanRun& run,
                 const std::vector<VmRoute>& routes, const std::vector<Diagnostic>& inspected) {
  const bool ok = std::none_of(inspected.begin(), inspected.end(), [](const Diagnostic& one) {
    return one.severity == Severity::kError;
  });
  if (context.json()) {
    nlohmann::json list = nlohmann::json::array();
    for (const VmRoute& route : routes) list.push_back(route.to_json());
    nlohmann::json diagnostics = diagnostics_json(run);
    for (const Diagnostic& one : inspected) diagnostics.push_back(diagnostic_json(one));
    context.print_json({{"plan", options.plan},
                        {"ok", ok},
                        {"vms", list},
                        {"estimate", run.estimate().to_json()},
                        {"diagnostics", diagnostics}});
    return ok ? kExitOk : kExitPreflight;
  }
  context.print(run.diagnostics());
  context.print(inspected);
  if (options.dry_run)
    for (const VmRoute& route : routes) std::cout << route_text(route);
  else
    std::cout << routes_table(routes);
  std::cout << findings_table(routes) << estimate_text(run.estimate(), run.diagnostics())
            << options.plan << ": " << (ok ? "valid, " : "some guests will not boot, ")
            << routes.size() << (routes.size() == 1 ? " VM" : " VMs") << "; nothing was changed\n";
  return ok ? kExitOk : kExitPreflight;
}

int print_results(const Context& context, const RunOptions& options,
                  const std::vector<MigrationResult>& results,
                  const std::vector<WebhookStats>& hooks) {
  if (context.json()) {
    nlohmann::json list = nlohmann::json::array(), sent = nlohmann::json::array();
    for (const MigrationResult& result : results) list.push_back(to_json(result));
    for (const WebhookStats& hook : hooks) sent.push_back(webhook_json(hook));
    context.print_json({{"plan", options.plan}, {"results", list}, {"webhooks", sent}});
  } else {
    std::cout << summary_text(results, hooks, options.verbose);
  }
  return exit_status(results);
}

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
  PlanRunOptions wanted{options.plan, options.text, options.changes, options.converter,
                        options.fresh};
  wanted.changes.host_defaults = context.host_config().defaults;
  PluginRegistry* plugins = nullptr;
  const auto registry = [&](const std::vector<std::string>& dirs) -> PluginRegistry& {
    plugins = &context.registry(dirs);
    return *plugins;
  };
  PlanRun run({registry, context.cancel(), default_state_dir()}, std::move(wanted));
  PlanStatus status = only_check ? run.check() : run.prepare();
  if (status == PlanStatus::kReady && only_check) {
    std::vector<VmRoute> routes = run.routes();
    const std::vector<Diagnostic> inspected =
        inspect_guests(context, *plugins, run.bound(), options.inspect, routes);
    return print_routes(context, options, run, routes, inspected);
  }
  if (status == PlanStatus::kReady) status = run.start();
  if (status != PlanStatus::kReady) return print_refusal(context, options, run, status);
  // Its own share: it may be on its way while the last VM ends and the orchestrator goes.
  context.on_drain([draining = run.orchestrator().draining()] { draining->cancel(); });
  std::vector<MigrationResult> results;
  {
    const RunScreen screen(context, run.orchestrator(), run.name());
    results = run.run();
  }
  context.on_drain({});
  const int exit = print_results(context, options, results, run.finish());
  std::cout.flush();
  run.wait_for_scrape();
  return exit;
}

void add_run_commands(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<PlanCommand>();
  CLI::App* run = add_plan_command(app, "run", "Migrate the VMs of a plan", options->run);
  run->add_flag("--dry-run", options->run.dry_run,
                "Check everything, say how each disk would go, change nothing");
  add_progress_option(*run, context);
  add_watch_flags(*run, options->watch);
  run->add_flag(
      "-v,--verbose", options->run.verbose,
      "The report at the end names every VM, with its manifest and the digests of its disks");
  run->add_flag("--fresh", options->run.fresh,
                "Start over instead of resuming an earlier run of the plan; what that "
                "run finished is only replaced with overwrite: true");
  run->footer(
      "SIGTERM: nothing begins any more, the disks that run are finished. SIGINT, or SIGTERM "
      "again:\n"
      "reading and writing stop within two seconds; then the source is given back, which cannot\n"
      "be cancelled and may take minutes. One more signal: leaves at once; what is left at the\n"
      "source then needs `hyperhost cleanup PLAN`. Run the same command again to continue.\n\n"
      "Examples:\n"
      "  hyperhost run plan.yaml\n"
      "  hyperhost run plan.yaml --dry-run\n"
      "  hyperhost run plan.yaml --converter qemu-img --set output_dir=/srv/vms\n"
      "  hyperhost run plan.yaml --progress-api-port 8080  (see http://127.0.0.1:8080)\n"
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
  validate->add_flag(
      "--inspect", check->inspect,
      "Look into the guests that the plan prepares, too, and at the structures of "
      "disks\non a hypervisor's datastores. The disks are only read, but a VM that runs "
      "needs a\nsnapshot for that while it is looked at");
  validate->footer(
      "Prints a line for each VM, what its description and the structures of its disks predict\n"
      "(of files; some hundred KiB of each disk are read), then the sums: VMs, bytes to read,\n"
      "space on each file system\n"
      "(the most and the least that all VMs together take), hours, warnings.\n\n"
      "Exit status: 0 it can run, 2 the plan has errors, 3 it is well-formed and cannot run.\n\n"
      "Examples:\n"
      "  hyperhost validate plan.yaml\n"
      "  hyperhost --output json validate plan.yaml | jq .estimate");
  validate->callback([check, &context, &status] { status = run_plan(context, *check, true); });
}

}  // namespace hyperhost
