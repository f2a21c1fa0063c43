// SPDX-License-Identifier: Apache-2.0
// hyperhost inspect: what a guest plugin finds on the disks of a VM, where it is, and what of it
// would keep the guest from booting on another machine.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/random_id.hpp"
#include "core/base/units.hpp"
#include "core/block/block_table.hpp"
#include "core/migrate/machine.hpp"
#include "core/plugin/guest_handle.hpp"
#include "core/run/plugin_defaults.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "hosts/hyperhost/inventory.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

struct InspectOptions {
  InventoryOptions where;
  std::string plugin;
  MachineSettings machine;
};

/// The disks of a VM as its guest sees them, to be read in any order.
class GuestDisks {
 public:
  GuestDisks(Session& session, const std::string& provider, const VmRoute& route, Operation& op) {
    json request = {{"vm", route.vm.ref}, {"task_id", random_id()}};
    for (const DiskRoute& disk : route.disks)
      if (!disk.disk.content_id.empty())
        request["content_ids"][disk.disk.id] = disk.disk.content_id;
    vm_ = session.provider(provider, op).open_vm(op, request);
    for (const DiskRoute& disk : route.disks) {
      auto source = open_guest_disk(session, *vm_, route.vm, disk.disk, op, read_);
      count_reads(*source, seen_);
      tables_.push_back(
          std::make_unique<BlockTable>(disk.disk.id, read_only_device(std::move(source)), op));
      blocks_.push_back(tables_.back()->table());
    }
  }

  const std::vector<hyper_block>& blocks() const { return blocks_; }
  /// From the source; as the guest sees it where a reader opened the source's file by itself.
  uint64_t bytes_read() const { return read_->located ? seen_->known() : read_->known(); }
  /// Gives the VM back.
  std::vector<Diagnostic> close(const Operation& op) {
    blocks_.clear();
    tables_.clear();
    Operation closing(op.name(), CancelSource::create(), op.services());
    vm_->close(closing, HYPER_OK);
    return closing.diagnostics();
  }

 private:
  const std::shared_ptr<ReadCount> read_ = std::make_shared<ReadCount>();
  const std::shared_ptr<ReadCount> seen_ = std::make_shared<ReadCount>();
  std::unique_ptr<ProviderVmHandle> vm_;
  std::vector<std::unique_ptr<BlockTable>> tables_;
  std::vector<hyper_block> blocks_;
};

VmRoute route_of(Session& session, const std::string& provider, const std::string& vm,
                 Operation& op) {
  VmRoute route;
  route.vm = parse_vm_description(session.provider(provider, op).describe_vm(op, vm),
                                  session.provider_plugin(provider));
  for (const DiskDescription& disk : route.vm.disks) {
    check_seekable(route.vm, disk);
    route.disks.emplace_back().disk = disk;
  }
  if (route.disks.empty()) throw Error(Code::kNotFound, route.vm.name + " has no disk");
  return route;
}

/// Whether a finding keeps the guest from booting.
bool is_error(const json& finding) {
  return finding.value("severity", "") == "error";
}

void print_inspection(const std::string& vm, const json& found, const MachineSettings& machine) {
  for (const json& root : found["roots"]) {
    std::cout << vm << ": " << root.value("os", "an unknown system");
    for (const char* member : {"distro", "version", "arch", "firmware"})
      if (root.contains(member)) std::cout << ", " << root.value(member, "");
    std::cout << "\n";
    for (const json& mount : root.value("mounts", json::array()))
      std::cout << "  " << mount.value("device", "") << " at " << mount.value("place", "") << "\n";
  }
  if (found["roots"].empty()) std::cout << vm << ": no system was found\n";
  const json findings = found.value("findings", json::array());
  Table table({"Severity", "Rule", "Finding", "Where", "Changed by"});
  for (const json& one : findings)
    table.row({one.value("severity", ""), one.value("rule", ""), one.value("summary", ""),
               one.value("evidence", ""), one.value("fixable_by", "")});
  if (!findings.empty()) std::cout << "\n" << table.text();
  const bool boots = std::none_of(findings.begin(), findings.end(), is_error);
  std::cout << "\n"
            << (boots ? "Nothing was found that keeps it from booting on "
                      : "It will not boot as it is on ")
            << machine.bus << ". " << human_bytes(found.value("source_bytes_read", uint64_t{0}))
            << " were read from its source.\n";
}

int inspect(Context& context, const InspectOptions& options) {
  SessionServices services;
  services.journal = StateStore::open(default_state_dir());
  Operation op("inspect", context.cancel(), {services.journal});
  Inventory inventory(context, options.where, std::move(services));
  Session& session = inventory.session();
  const std::string& provider = inventory.provider();
  PluginRegistry& registry = context.registry();
  const std::string plugin =
      options.plugin.empty() ? registry.default_for(HYPER_IFACE_GUEST) : options.plugin;
  GuestHandle& guest = session.guest(default_choice(registry, plugin), op);
  const VmRoute route = route_of(session, provider, options.where.vm, op);
  const json request = {{"vm", route.vm.document}, {"machine", machine_of(options.machine, route)}};
  static_cast<void>(guest.plan(op, request));
  GuestDisks disks(session, provider, route, op);
  json found;
  try {
    found = guest.inspect(op, request, disks.blocks());
  } catch (...) {
    context.print(disks.close(op));
    throw;
  }
  found["vm"] = route.vm.name;
  found["plugin"] = plugin;
  found["source_bytes_read"] = disks.bytes_read();
  context.print(disks.close(op));
  if (context.json())
    context.print_json(found);
  else
    print_inspection(route.vm.name, found, options.machine);
  const json findings = found.value("findings", json::array());
  return std::any_of(findings.begin(), findings.end(), is_error) ? kExitPreflight : kExitOk;
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
      ->add_option("--bus", options->machine.bus,
                   "Of the disks of the machine that it is to boot on")
      ->check(CLI::IsMember({"virtio", "scsi", "sata", "ide"}))
      ->capture_default_str();
  command->add_option("--guest-plugin", options->plugin,
                      "The plugin that looks (default: the preferred one)");
  add_source_options(*command, options->where);
  command->footer(
      "The disks are only read. Exit status 3: something keeps the guest from booting.\n\n"
      "Examples:\n"
      "  hyperhost inspect plan.yaml web-01\n"
      "  hyperhost inspect web-01 --path web-01.ova --bus sata\n"
      "  hyperhost --output json inspect plan.yaml web-01");
  command->callback([options, &context, &status] {
    sort_words(options->where, true);
    status = inspect(context, *options);
  });
}

}  // namespace hyperhost
