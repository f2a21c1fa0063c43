// SPDX-License-Identifier: Apache-2.0
// hyperhost inspect: what the description of a VM, the structures of its disks and a guest plugin
// say of it, and what of it would keep the guest from booting on another machine.
#include <hyper/draft/guest.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/units.hpp"
#include "core/migrate/prediction.hpp"
#include "core/run/plugin_defaults.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "hosts/hyperhost/guest_inspection.hpp"
#include "hosts/hyperhost/inventory.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

struct InspectOptions {
  InventoryOptions where;
  std::string plugin;
  std::string depth = "appliance";
  std::string bus;  ///< "" = not given
};

VmRoute route_of(Session& session, const std::string& provider, const std::string& vm,
                 Operation& op) {
  VmRoute route;
  route.vm = parse_vm_description(session.provider(provider, op).describe_vm(op, vm),
                                  session.provider_plugin(provider));
  for (const DiskDescription& disk : route.vm.disks) route.disks.emplace_back().disk = disk;
  if (route.disks.empty()) throw Error(Code::kNotFound, route.vm.name + " has no disk");
  return route;
}

void print_roots(const std::string& vm, const json& roots) {
  for (const json& root : roots) {
    std::cout << vm << ": " << root.value("os", "an unknown system");
    for (const char* member : {"distro", "version", "arch", "firmware"})
      if (root.contains(member)) std::cout << ", " << root.value(member, "");
    std::cout << "\n";
    for (const json& mount : root.value("mounts", json::array()))
      std::cout << "  " << mount.value("device", "") << " at " << mount.value("place", "") << "\n";
  }
  if (roots.empty()) std::cout << vm << ": no system was found\n";
}

void print_disks(const std::string& vm, const VmRoute& route, const StructureReport& seen) {
  for (std::size_t i = 0; i < seen.disks.size(); ++i) {
    const DiskStructure& disk = seen.disks[i];
    std::cout << vm << "/" << route.disks[i].disk.id << ": "
              << (disk.table.empty() ? "no partitions" : disk.table)
              << (disk.boot_code.empty() ? "" : ", boot code: " + disk.boot_code) << "\n";
    for (const Volume& volume : disk.volumes) {
      std::cout << "  " << (volume.number == 0 ? "the disk" : std::to_string(volume.number)) << " "
                << (volume.kind.empty() ? "unknown" : volume.kind) << ", "
                << human_bytes(volume.length);
      for (const std::string& loader : volume.loaders) std::cout << ", " << loader;
      std::cout << "\n";
    }
  }
}

json structures_json(const VmRoute& route, const StructureReport& seen) {
  json disks = json::array();
  for (std::size_t i = 0; i < seen.disks.size(); ++i) {
    disks.push_back(structure_json(seen.disks[i]));
    disks.back()["id"] = route.disks[i].disk.id;
  }
  return {{"source_bytes_read", seen.bytes_read},
          {"seconds", std::chrono::duration<double>(seen.duration).count()},
          {"disks", std::move(disks)}};
}

void print_findings(const std::vector<VmFinding>& findings) {
  if (findings.empty()) return;
  Table table({"Severity", "Rule", "Finding", "Where", "Changed by"});
  for (const VmFinding& one : findings)
    table.row({finding_severity_name(one.severity), one.rule, one.summary,
               one.disk + (one.disk.empty() || one.evidence.empty() ? "" : ": ") + one.evidence,
               one.fixable_by});
  std::cout << "\n" << table.text();
}

/// The plugin that looks: the one that is named, the last one of the plan's preparation with its
/// options, or the preferred one. Nothing where there is none or none is wanted.
std::optional<PluginChoice> plugin_of(const Context& context, PluginRegistry& registry,
                                      const Inventory& inventory, const InspectOptions& options) {
  if (options.depth != "appliance") return std::nullopt;
  const auto& guests = inventory.guests();
  if (guests && (options.plugin.empty() || options.plugin == guests->guest_plugins.back().plugin))
    return guests->guest_plugins.back();
  if (!options.plugin.empty()) return default_choice(registry, options.plugin);
  try {
    return default_choice(registry, registry.default_for(HYPER_IFACE_GUEST));
  } catch (const Error& none) {
    Diagnostic note = none.diagnostic();
    note.severity = Severity::kWarning;
    note.hint = "its description and the structures of its disks are all that is looked at";
    context.print({note});
    return std::nullopt;
  }
}

int inspect(Context& context, const InspectOptions& options) {
  SessionServices services;
  services.journal = StateStore::open(default_state_dir());
  Operation op("inspect", context.cancel(), {services.journal});
  Inventory inventory(context, options.where, std::move(services));
  Session& session = inventory.session();
  const std::string& provider = inventory.provider();
  PluginRegistry& registry = context.registry();
  const std::optional<PluginChoice> plugin = plugin_of(context, registry, inventory, options);
  const VmRoute route = route_of(session, provider, options.where.vm, op);
  GuestSettings guest;
  guest.wanted = true;
  if (inventory.guests()) guest.machine = inventory.guests()->guest.machine;
  if (!options.bus.empty()) guest.machine.bus = options.bus;
  std::vector<VmFinding> findings = predict({route.vm, route.disks, guest});
  json found = {{"findings", json::array()}};
  GuestInspection seen;
  const bool looks = plugin || options.depth == "structures" ||
                     (options.depth == "appliance" && is_seekable(route));
  if (looks) {
    seen = inspect_guest(session, provider, plugin, route, guest, op);
    if (plugin) found = seen.answer;
    found["findings"] = json::array();
    if (plugin) found["plugin"] = plugin->plugin;
    found["structures"] = structures_json(route, seen.structures);
    context.print(seen.notices);
  }
  for (const auto& [depth, some] : {std::pair{"description", findings},
                                    {"structures", seen.structures.findings},
                                    {"appliance", seen.findings}})
    for (const VmFinding& one : some) {
      found["findings"].push_back(finding_json(one));
      found["findings"].back()["depth"] = depth;
      if (depth != std::string_view("description")) findings.push_back(one);
    }
  found["vm"] = route.vm.name;
  found["source_bytes_read"] = seen.bytes_read;
  const bool fine = std::none_of(findings.begin(), findings.end(), stands);
  if (context.json()) {
    context.print_json(found);
  } else {
    if (plugin) print_roots(route.vm.name, found["roots"]);
    if (looks) print_disks(route.vm.name, route, seen.structures);
    if (!looks) std::cout << route.vm.name << ": by its description\n";
    print_findings(findings);
    std::cout << "\n"
              << (fine ? "Nothing was found that keeps it from booting on "
                       : "It will not boot as it is on ")
              << guest.machine.bus << ". " << human_bytes(seen.bytes_read)
              << " were read from its source.\n";
  }
  return fine ? kExitOk : kExitPreflight;
}

}  // namespace

void add_inspect_command(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "Look into a VM's guest: would it boot on another machine?");
  command
      ->add_option("PLAN|VM", options->where.words,
                   "The plan that has the source (not with --path or --endpoint); then the VM's\n"
                   "name, path or reference")
      ->expected(1, 2)
      ->required();
  command
      ->add_option("--bus", options->bus,
                   "Of the disks of the machine that it is to boot on (default: as the plan\n"
                   "prepares guests, else virtio)")
      ->check(CLI::IsMember({"virtio", "scsi", "sata", "ide"}));
  command
      ->add_option("--depth", options->depth,
                   "description: what the source says of the VM, without its disks.\n"
                   "structures: and partitions, boot loaders, file systems and encryption, some\n"
                   "hundred KiB of each disk, without a plugin.\n"
                   "appliance: and what a guest plugin finds on its disks")
      ->check(CLI::IsMember({"description", "structures", "appliance"}))
      ->capture_default_str();
  command->add_option(
      "--guest-plugin", options->plugin,
      "The plugin that looks (default: the plan's last one, with its options; else the\n"
      "preferred one)");
  add_source_options(*command, options->where);
  command->footer(
      "The disks are only read. Exit status 3: something keeps the guest from booting.\n\n"
      "Examples:\n"
      "  hyperhost inspect plan.yaml web-01\n"
      "  hyperhost inspect web-01 --path web-01.ova --bus sata\n"
      "  hyperhost inspect plan.yaml web-01 --depth description\n"
      "  hyperhost inspect plan.yaml web-01 --depth structures\n"
      "  hyperhost --output json inspect plan.yaml web-01");
  command->callback([options, &context, &status] {
    sort_words(options->where, true);
    status = inspect(context, *options);
  });
}

}  // namespace hyperhost
