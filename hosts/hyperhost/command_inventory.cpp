// SPDX-License-Identifier: Apache-2.0
// hyperhost list, hyperhost describe: what a provider has, of a plan or of a package on disk.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/plugin/handles.hpp"
#include "core/vm/vm_description.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/inventory.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

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
  const std::string& name = inventory.provider();
  Operation op(options.vm, context.cancel());
  const VmDescription vm =
      parse_vm_description(inventory.session().provider(name, op).describe_vm(op, options.vm),
                           inventory.session().provider_plugin(name));
  context.print(op.diagnostics());
  if (context.json())
    context.print_json(vm.document);
  else
    print_vm(vm);
  return kExitOk;
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
  add_source_options(*command, *listed);
  command->footer(
      "Examples:\n"
      "  hyperhost list plan.yaml\n"
      "  hyperhost list plan.yaml 'web-*'\n"
      "  hyperhost list --path /srv/exports\n"
      "  hyperhost list --endpoint https://vc.example --username ops --password env:PW");
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
  add_source_options(*command, *described);
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
