// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/inventory.hpp"

#include <hyper/provider.h>

#include <cstdlib>

#include "core/plan/plan.hpp"
#include "core/run/bind_plan.hpp"

namespace hyperhost {

void sort_words(InventoryOptions& options, bool needs_vm) {
  const bool by_flag = !options.plan.empty() || options.source.given();
  auto words = options.words;
  // Without a flag the source is a plan; where none is named, the vCenter of the environment.
  const char* const url = std::getenv("GOVC_URL");
  const bool from_environment =
      words.size() <= (needs_vm ? 1u : 0u) && url != nullptr && *url != '\0';
  if (!by_flag && !from_environment) {
    if (words.empty())
      throw Error(Code::kConfig, "where are the VMs?", "",
                  "name a plan, --path FILE or --endpoint https://HOST/sdk");
    options.plan = words.front();
    words.erase(words.begin());
  }
  if (words.size() > 1) throw Error(Code::kConfig, "'" + words[1] + "' is one word too many");
  if (!words.empty()) options.vm = words.front();
  if (needs_vm && options.vm.empty())
    throw Error(Code::kConfig, "which VM?", "", "name it after the plan");
}

Inventory::Inventory(Context& context, const InventoryOptions& options, SessionServices services) {
  PlanOptions wanted;
  wanted.only_sources = true;
  wanted.overrides = options.overrides;
  wanted.host_defaults = context.host_config().defaults;
  if (options.plan.empty()) {
    add_source(options.source, wanted.flags);
    context.reword = name_missing_flag;
  }
  const PlanResult loaded = options.plan.empty() ? parse_plan("version: 1\n", "hyperhost", wanted)
                                                 : load_plan(options.plan, wanted);
  context.print(loaded.diagnostics);
  if (!loaded.plan)
    throw Error(Code::kConfig,
                options.plan.empty() ? "the source cannot be used" : options.plan + " has errors");
  std::vector<std::string> dirs;
  for (const auto& dir : loaded.plan->plugin_dirs) dirs.push_back(dir.string());
  PluginRegistry& registry = context.registry(dirs);
  const BoundPlan bound = bind_plan(*loaded.plan, registry);
  const std::string only = options.plan.empty() ? "" : options.source.provider;
  for (const auto& [name, choice] : bound.orchestrator.providers)
    if (only.empty() || only == name) providers_[name] = choice;
  if (providers_.empty()) {
    context.print(bound.diagnostics);
    throw Error(Code::kConfig, only.empty() ? "no provider can be used"
                                            : "the plan has no usable provider '" + only + "'");
  }
  if (!bound.migrations.empty() && !bound.migrations.front().guest_plugins.empty())
    guests_ = bound.migrations.front();
  session_ = std::make_unique<Session>(registry, providers_, std::move(services));
}

const std::string& Inventory::provider() const {
  if (providers_.size() > 1)
    throw Error(Code::kConfig, "the plan has several providers", "", "choose one with --provider");
  return providers_.begin()->first;
}

void check_seekable(const VmDescription& vm, const DiskDescription& disk) {
  if (disk.seekable || disk.blank) return;
  throw Error(Code::kUnsupported,
              vm.name + "/" + disk.id + " can only be read from its front to its end here",
              "it has to be read in any order",
              "convert it, and use the image; a vSphere source seeks with transport: datastore");
}

void add_source_options(CLI::App& command, InventoryOptions& options) {
  CLI::Option* plan =
      command.add_option("--plan", options.plan, "The plan, instead of the first word");
  command.add_option("--provider", options.source.provider,
                     "Of a plan: only this provider. Else the plugin (default: local-ovf with\n"
                     "--path, else vsphere)");
  add_source_flags(command, options.source);
  for (CLI::Option* flag : command.get_options())
    if (flag->get_group() == "Source") flag->excludes(plan);
  command.add_option("--set", options.overrides, "KEY=VALUE over what the plan says (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace hyperhost
