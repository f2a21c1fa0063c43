// SPDX-License-Identifier: Apache-2.0
// hyperhost cleanup [PLAN]: what killed runs left outside, undone.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/plan/plan.hpp"
#include "core/run/bind_plan.hpp"
#include "core/run/cleanup.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

struct CleanupOptions {
  std::string plan;
  std::vector<std::string> overrides;
  bool dry_run = false, force = false;
};

class Cleanup {
 public:
  Cleanup(Context& context, const CleanupOptions& options) : context_(context), options_(options) {}

  int run() {
    const auto store = StateStore::open(default_state_dir());
    CleanupPlaces places;
    std::map<std::string, PluginChoice> providers;
    PluginRegistry* registry = nullptr;
    if (options_.plan.empty()) {
      registry = &context_.registry();
    } else {
      PlanOptions plan_options;
      plan_options.overrides = options_.overrides;
      plan_options.host_defaults = context_.host_config().defaults;
      const PlanResult loaded = load_plan(options_.plan, plan_options);
      if (!loaded.plan) return refused(loaded.diagnostics);
      std::vector<std::string> dirs;
      for (const auto& dir : loaded.plan->plugin_dirs) dirs.push_back(dir.string());
      registry = &context_.registry(dirs);
      const BoundPlan bound = bind_plan(*loaded.plan, *registry);
      if (!bound.ok) return refused(bound.diagnostics);
      providers = bound.orchestrator.providers;
      for (const auto& [name, choice] : providers) places.providers.push_back(name);
      for (const MigrationConfig& config : bound.migrations) {
        if (config.upload_to_cloud) add(places.storages, config.storage);
        if (config.target.wanted) add(places.targets, config.target_plugin);
      }
    }
    Session session(*registry, std::move(providers), {store, store});
    const auto items =
        clean_up(*store, session, places, options_.dry_run, options_.force, context_.cancel());
    return report(items);
  }

 private:
  static void add(std::vector<PluginChoice>& storages, const PluginChoice& choice) {
    const auto same = [&](const PluginChoice& other) {
      return other.plugin == choice.plugin && other.options.value() == choice.options.value();
    };
    if (std::none_of(storages.begin(), storages.end(), same)) storages.push_back(choice);
  }

  int refused(const std::vector<Diagnostic>& diagnostics) const {
    context_.print(diagnostics);
    std::cerr << options_.plan << ": nothing was touched\n";
    return kExitUsage;
  }

  static std::string text(const JournalEntry& entry, const char* member) {
    const auto found = entry.what.find(member);
    return found != entry.what.end() && found->is_string() ? found->get<std::string>() : "";
  }

  int report(const std::vector<CleanupItem>& items) const {
    std::size_t undone = 0, left = 0, in_use = 0;
    bool needs_plan = false;
    for (const CleanupItem& item : items) {
      undone += item.state == CleanupState::kUndone;
      in_use += item.state == CleanupState::kInUse;
      left += item.state != CleanupState::kUndone && item.state != CleanupState::kInUse;
      needs_plan = needs_plan || item.state == CleanupState::kNoPlace;
    }
    if (context_.json()) {
      nlohmann::json list = nlohmann::json::array();
      for (const CleanupItem& item : items) {
        nlohmann::json one = item.entry.what;
        one["entry"] = item.entry.id;
        one["state"] = cleanup_state_name(item.state);
        if (!item.reason.empty()) one["reason"] = item.reason;
        list.push_back(one);
      }
      context_.print_json(
          {{"dry_run", options_.dry_run}, {"entries", list}, {"undone", undone}, {"open", left}});
    } else if (items.empty()) {
      std::cout << "nothing is left over\n";
    } else {
      Table table({">Entry", "Plugin", "What", "Where", "Name", "State"});
      for (const CleanupItem& item : items)
        table.row({std::to_string(item.entry.id), item.entry.plugin, text(item.entry, "kind"),
                   text(item.entry, "where"), text(item.entry, "ref"),
                   cleanup_state_name(item.state) +
                       (item.reason.empty() ? std::string() : ": " + item.reason)});
      std::cout << table.text() << "\n" << undone << " undone, " << left << " open";
      if (in_use > 0) std::cout << ", " << in_use << " in use by a running run";
      std::cout << "\n";
      if (needs_plan)
        std::cout << "Entries without a place need a plan that names it and has its credentials: "
                     "hyperhost cleanup PLAN\n";
    }
    if (context_.cancel()->cancelled()) return kExitInterrupted;
    return options_.dry_run || left == 0 ? kExitOk : kExitFailed;
  }

  Context& context_;
  const CleanupOptions& options_;
};

}  // namespace

void add_cleanup_command(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<CleanupOptions>();
  CLI::App* cleanup = app.add_subcommand(
      "cleanup", "Undo what killed runs left: snapshots, leases, uploads, unfinished files");
  cleanup->add_option("PLAN", options->plan,
                      "A plan with the sources and stores concerned, and their credentials; "
                      "unfinished files need none");
  cleanup->add_option("--set", options->overrides, "KEY=VALUE over what the plan says (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  cleanup->add_flag("--dry-run", options->dry_run, "Say what would be tried, change nothing");
  cleanup->add_flag("--force", options->force,
                    "Also what runs left that cannot be seen from here (on another machine, in a "
                    "container); make sure first that they have ended");
  cleanup->footer(
      "Entries of a running run are left alone. Unfinished disks that a rerun of their\n"
      "plan would continue are removed too.\n\n"
      "Exit status: 0 nothing is left over, 1 something is.\n\n"
      "Examples:\n"
      "  hyperhost cleanup --dry-run\n"
      "  hyperhost cleanup plan.yaml");
  cleanup->callback([options, &context, &status] { status = Cleanup(context, *options).run(); });
}

}  // namespace hyperhost
