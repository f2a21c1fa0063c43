// SPDX-License-Identifier: Apache-2.0
// hyperhost list, hyperhost describe: what a provider has, of a plan or of a package on disk.
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/migrate/session.hpp"
#include "core/plan/plan.hpp"
#include "core/plugin/handles.hpp"
#include "core/run/bind_plan.hpp"
#include "core/vm/vm_description.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/source_flags.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

struct InventoryOptions {
  std::string plan, vm;
  std::vector<std::string> words;  ///< [PLAN] [VM], as far as no flag says it
  SourceFlags source;
  std::vector<std::string> overrides;
};

/// Which of the words is the plan, and which the VM.
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

/// The session that the plan or the flags ask for.
class Inventory {
 public:
  Inventory(Context& context, const InventoryOptions& options) {
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
      throw Error(Code::kConfig, options.plan.empty() ? "the source cannot be used"
                                                      : options.plan + " has errors");
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
    session_ = std::make_unique<Session>(registry, providers_);
  }

  Session& session() { return *session_; }
  const std::map<std::string, PluginChoice>& providers() const { return providers_; }

 private:
  std::map<std::string, PluginChoice> providers_;
  std::unique_ptr<Session> session_;
};

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

uint64_t number_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_array()) return found->size();
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

int list(Context& context, const InventoryOptions& options) {
  Inventory inventory(context, options);
  Table table({"VM", "Provider", "Power", ">Disks", ">Size", "Path"});
  nlohmann::json all = nlohmann::json::array();
  for (const auto& [name, choice] : inventory.providers()) {
    Operation op(name, context.cancel());
    inventory.session().provider(name, op).list_vms(
        op, options.vm, [&, provider = name](const nlohmann::json& vm) {
          all.push_back(vm);
          all.back()["provider"] = provider;
          table.row({text_of(vm, "name"), provider, text_of(vm, "power_state"),
                     std::to_string(number_of(vm, "disks")), human_bytes(number_of(vm, "bytes")),
                     text_of(vm, "path")});
        });
    context.print(op.diagnostics());
  }
  if (context.json())
    context.print_json({{"vms", all}});
  else
    std::cout << table.text();
  if (all.empty())
    std::cerr << "no VM " << (options.vm.empty() ? "is there" : "matches '" + options.vm + "'")
              << (options.source.path.empty()
                      ? ""
                      : " (directories below are not looked into; a plan's recursive: true does)")
              << "\n";
  return kExitOk;
}

void print_vm(const VmDescription& vm) {
  std::cout << vm.name << "\n"
            << "  reference     " << vm.ref << "\n"
            << "  guest         " << (vm.guest_os.empty() ? "unknown" : vm.guest_os) << " ("
            << vm.os_hint << ")\n"
            << "  firmware      " << vm.firmware << (vm.secure_boot ? ", secure boot" : "") << "\n"
            << "  CPU, memory   " << vm.cpu << ", " << human_bytes(vm.memory_bytes) << "\n";
  if (!vm.uuid.empty()) std::cout << "  UUID          " << vm.uuid << "\n";
  if (vm.tpm) std::cout << "  TPM           yes\n";
  std::cout << "\n";
  Table disks({"Disk", "Label", "Format", ">Capacity", ">Bytes", "Type", "Place", "File"});
  for (const DiskDescription& disk : vm.disks)
    disks.row({disk.id, disk.label, disk.blank ? "(blank)" : disk.format,
               human_bytes(disk.capacity_bytes),
               disk.source_bytes ? human_bytes(*disk.source_bytes) : "?", disk.type,
               disk.controller, disk.file});
  std::cout << disks.text();
  if (!vm.nics.empty()) {
    Table nics({"NIC", "MAC", "Network", "Model"});
    for (const NicDescription& nic : vm.nics) nics.row({nic.id, nic.mac, nic.network, nic.model});
    std::cout << "\n" << nics.text();
  }
  for (const std::string& text : vm.warnings) std::cout << "\nwarning: " << text;
  for (const std::string& text : vm.notes) std::cout << "\nnote: " << text;
  if (!vm.warnings.empty() || !vm.notes.empty()) std::cout << "\n";
}

int describe(Context& context, const InventoryOptions& options) {
  Inventory inventory(context, options);
  if (inventory.providers().size() > 1)
    throw Error(Code::kConfig, "the plan has several providers", "", "choose one with --provider");
  const auto& [name, choice] = *inventory.providers().begin();
  Operation op(options.vm, context.cancel());
  const VmDescription vm = parse_vm_description(
      inventory.session().provider(name, op).describe_vm(op, options.vm), choice.plugin);
  context.print(op.diagnostics());
  if (context.json())
    context.print_json(vm.document);
  else
    print_vm(vm);
  return kExitOk;
}

void add_source_options(CLI::App* command, InventoryOptions& options) {
  CLI::Option* plan = command->add_option("--plan", options.plan, "The plan, where it is no word");
  command->add_option("--provider", options.source.provider,
                      "Of a plan: only this provider. Else the plugin (default: local-ovf with\n"
                      "--path, else vsphere)");
  add_source_flags(*command, options.source);
  for (CLI::Option* flag : command->get_options())
    if (flag->get_group() == "Source") flag->excludes(plan);
  command->add_option("--set", options.overrides, "KEY=VALUE over what the plan says (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace

void add_inventory_commands(CLI::App& app, Context& context, int& status) {
  auto listed = std::make_shared<InventoryOptions>();
  CLI::App* command =
      app.add_subcommand("list", "List the VMs of a plan's sources, of a vCenter, of a package");
  command
      ->add_option("PLAN|PATTERN", listed->words,
                   "The plan whose sources are asked (not with --path or --endpoint); then which\n"
                   "VMs, by name or path, e.g. 'web-*'")
      ->expected(0, 2);
  add_source_options(command, *listed);
  command->footer(
      "Examples:\n"
      "  hyperhost list plan.yaml\n"
      "  hyperhost list plan.yaml 'web-*'\n"
      "  hyperhost list --path /srv/exports\n"
      "  hyperhost list --endpoint https://vc.example/sdk --username ops --password env:PASSWORD");
  command->callback([listed, &context, &status] {
    sort_words(*listed, false);
    status = list(context, *listed);
  });

  auto described = std::make_shared<InventoryOptions>();
  command = app.add_subcommand("describe", "Describe a VM: hardware, disks, networks");
  command
      ->add_option("PLAN|VM", described->words,
                   "The plan that has the source (not with --path or --endpoint); then the VM's\n"
                   "name, path or reference")
      ->expected(1, 2)
      ->required();
  add_source_options(command, *described);
  command->footer(
      "Examples:\n"
      "  hyperhost describe plan.yaml web-01\n"
      "  hyperhost describe web-01 --path web-01.ova\n"
      "  hyperhost --output json describe plan.yaml web-01");
  command->callback([described, &context, &status] {
    sort_words(*described, true);
    status = describe(context, *described);
  });
}

}  // namespace hyperhost
