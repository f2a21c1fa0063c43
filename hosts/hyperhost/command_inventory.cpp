// SPDX-License-Identifier: Apache-2.0
// hyperhost list, hyperhost describe: what a provider has, of a plan or of a package on disk.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/migrate/session.hpp"
#include "core/plan/plan.hpp"
#include "core/plugin/handles.hpp"
#include "core/run/bind_plan.hpp"
#include "core/vm/vm_description.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

struct InventoryOptions {
  std::string plan, path, provider, vm;
  std::vector<std::string> overrides;
};

/// The session that --plan or --path asks for.
class Inventory {
 public:
  Inventory(Context& context, const InventoryOptions& options) {
    if (options.path.empty() && options.plan.empty())
      throw Error(Code::kConfig, "the value of --plan or --path is empty");
    if (!options.path.empty()) {
      PluginRegistry& registry = context.registry();
      registry.load("local-ovf");
      providers_["path"] = {
          "local-ovf",
          Options(nlohmann::json{{"path", std::filesystem::absolute(options.path).string()}})};
      session_ = std::make_unique<Session>(registry, providers_);
      return;
    }
    PlanOptions plan_options;
    plan_options.overrides = options.overrides;
    plan_options.host_defaults = context.host_config().defaults;
    const PlanResult loaded = load_plan(options.plan, plan_options);
    context.print(loaded.diagnostics);
    if (!loaded.plan) throw Error(Code::kConfig, options.plan + " has errors");
    std::vector<std::string> dirs;
    for (const auto& dir : loaded.plan->plugin_dirs) dirs.push_back(dir.string());
    PluginRegistry& registry = context.registry(dirs);
    const BoundPlan bound = bind_plan(*loaded.plan, registry);
    for (const auto& [name, choice] : bound.orchestrator.providers)
      if (options.provider.empty() || options.provider == name) providers_[name] = choice;
    if (providers_.empty()) {
      context.print(bound.diagnostics);
      throw Error(Code::kConfig, options.provider.empty() ? options.plan + " has no usable provider"
                                                          : "the plan has no usable provider '" +
                                                                options.provider + "'");
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
              << (options.path.empty()
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
            << "  CPU, memory   " << vm.cpu << ", " << human_bytes(vm.memory_bytes) << "\n\n";
  Table disks({"Disk", "Label", "Format", ">Capacity", ">Bytes", "Type", "File"});
  for (const DiskDescription& disk : vm.disks)
    disks.row({disk.id, disk.label, disk.blank ? "(blank)" : disk.format,
               human_bytes(disk.capacity_bytes),
               disk.source_bytes ? human_bytes(*disk.source_bytes) : "?", disk.type, disk.file});
  std::cout << disks.text();
  if (!vm.nics.empty()) {
    Table nics({"NIC", "MAC", "Network"});
    for (const NicDescription& nic : vm.nics) nics.row({nic.id, nic.mac, nic.network});
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

void add_source(CLI::App* command, InventoryOptions& options) {
  auto* group = command->add_option_group("source");
  CLI::Option* plan =
      group->add_option("--plan", options.plan, "The plan whose providers are asked");
  group->add_option("--path", options.path,
                    "A directory of packages, an OVA, an OVF or a disk image");
  group->require_option(1);
  command->add_option("--provider", options.provider, "Only this provider of the plan")
      ->needs(plan);
  command->add_option("--set", options.overrides, "KEY=VALUE over what the plan says (repeatable)")
      ->take_all()
      ->needs(plan)
      ->allow_extra_args(false);
}

}  // namespace

void add_inventory_commands(CLI::App& app, Context& context, int& status) {
  auto listed = std::make_shared<InventoryOptions>();
  CLI::App* command =
      app.add_subcommand("list", "List the VMs of a plan's providers or of a package");
  command->add_option("PATTERN", listed->vm, "Only VMs whose name or path matches, e.g. 'web-*'");
  add_source(command, *listed);
  command->footer(
      "Examples:\n  hyperhost list --path /srv/exports\n  hyperhost list --plan plan.yaml 'web-*'");
  command->callback([listed, &context, &status] { status = list(context, *listed); });

  auto described = std::make_shared<InventoryOptions>();
  command = app.add_subcommand("describe", "Describe a VM: hardware, disks, networks");
  command->add_option("VM", described->vm, "Its name, path or reference")->required();
  add_source(command, *described);
  command->footer(
      "Examples:\n  hyperhost describe web-01 --path web-01.ova\n  hyperhost --output json "
      "describe web-01 --plan plan.yaml");
  command->callback([described, &context, &status] { status = describe(context, *described); });
}

}  // namespace hyperhost
