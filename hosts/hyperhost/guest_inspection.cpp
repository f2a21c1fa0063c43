// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/guest_inspection.hpp"

#include <algorithm>

#include "core/base/random_id.hpp"
#include "core/block/block_table.hpp"
#include "core/migrate/machine.hpp"
#include "core/plugin/guest_handle.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "hosts/hyperhost/inventory.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

/// A VM that is open at its provider.
class OpenedVm {
 public:
  OpenedVm(Session& session, const std::string& provider, const VmRoute& route, Operation& op)
      : session_(session), route_(route) {
    json request = {{"vm", route.vm.ref}, {"task_id", random_id()}};
    for (const DiskRoute& disk : route.disks)
      if (!disk.disk.content_id.empty())
        request["content_ids"][disk.disk.id] = disk.disk.content_id;
    vm_ = session.provider(provider, op).open_vm(op, request);
  }

  ProviderVmHandle* handle() const { return vm_.get(); }
  /// The disks of the VM as its guest sees them, to be read in any order. user: of the process that
  /// reads them.
  const std::vector<hyper_block>& blocks(Operation& op, std::optional<uid_t> user) {
    for (const DiskRoute& disk : route_.disks) {
      auto source = open_guest_disk(session_, *vm_, route_.vm, disk.disk, op, read_);
      count_reads(*source, seen_);
      tables_.push_back(std::make_unique<BlockTable>(
          disk.disk.id, read_only_device(std::move(source)), op, user));
      blocks_.push_back(tables_.back()->table());
    }
    return blocks_;
  }
  /// Through the blocks, from the source; as the guest sees it where a reader opened the source's
  /// file by itself.
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
  Session& session_;
  const VmRoute& route_;
  const std::shared_ptr<ReadCount> read_ = std::make_shared<ReadCount>();
  const std::shared_ptr<ReadCount> seen_ = std::make_shared<ReadCount>();
  std::unique_ptr<ProviderVmHandle> vm_;
  std::vector<std::unique_ptr<BlockTable>> tables_;
  std::vector<hyper_block> blocks_;
};

/// What the plugin has found itself is not reported twice.
void leave_out_known(GuestInspection& seen) {
  std::erase_if(seen.structures.findings, [&](const VmFinding& one) {
    return std::any_of(seen.findings.begin(), seen.findings.end(),
                       [&](const VmFinding& other) { return other.rule == one.rule; });
  });
}

/// Disks that a check may read without anything happening at their source: they lie on none of a
/// hypervisor's datastores.
bool are_files(const VmRoute& route) {
  return std::all_of(route.disks.begin(), route.disks.end(),
                     [](const DiskRoute& disk) { return disk.disk.datastore.empty(); });
}

using Plugins = std::vector<PluginChoice>;

/// What a further plugin found of the same VM. Its disks' structures are in it once.
void add(GuestInspection& seen, GuestInspection&& more) {
  if (seen.structures.disks.empty()) seen.structures = std::move(more.structures);
  seen.findings.insert(seen.findings.end(), more.findings.begin(), more.findings.end());
  seen.notices.insert(seen.notices.end(), more.notices.begin(), more.notices.end());
  leave_out_known(seen);
}

/// Adds what was found to the route, and the errors that neither a plugin changes nor the plan
/// accepts to the list.
void take_findings(PluginRegistry& registry, const MigrationConfig& job, GuestInspection& seen,
                   VmRoute& route, std::vector<Diagnostic>& out) {
  settle(seen.structures.findings, job, registry);
  for (VmFinding& one : seen.structures.findings) {
    if (stands(one) && !one.left_to_plugin) out.push_back(one.diagnostic(route.vm.name));
    route.predicted.push_back(std::move(one));
  }
  const auto& accepted = job.guest.accept;
  for (VmFinding one : seen.findings) {
    one.accepted = one.severity == Severity::kError &&
                   std::find(accepted.begin(), accepted.end(), one.rule) != accepted.end();
    const bool fixable = std::any_of(
        seen.findings.begin(), seen.findings.end(),
        [&](const VmFinding& other) { return other.rule == one.rule && is_fixable(other); });
    if (stands(one) && !fixable) out.push_back(one.diagnostic(route.vm.name));
    route.predicted.push_back(std::move(one));
  }
}

}  // namespace

GuestInspection inspect_guest(Session& session, const std::string& provider,
                              const std::optional<PluginChoice>& plugin, const VmRoute& route,
                              const GuestSettings& guest, Operation& op) {
  for (const DiskRoute& disk : route.disks) check_seekable(route.vm, disk.disk);
  const json request = {{"vm", route.vm.document},
                        {"machine", machine_of(guest.machine, {}, route)}};
  GuestHandle* const taken = plugin ? &session.guest(*plugin, op) : nullptr;
  if (taken != nullptr) static_cast<void>(taken->plan(op, request));
  OpenedVm vm(session, provider, route, op);
  GuestInspection out;
  try {
    out.structures = read_structures(session, vm.handle(), route, guest, op);
    if (taken != nullptr)
      out.answer = taken->inspect(op, request, vm.blocks(op, taken->plugin().user()));
  } catch (...) {
    static_cast<void>(vm.close(op));
    throw;
  }
  if (taken != nullptr)
    for (const json& one : out.answer.value("findings", json::array()))
      out.findings.push_back(finding_from(one));
  leave_out_known(out);
  out.bytes_read = out.structures.bytes_read + vm.bytes_read();
  out.notices = vm.close(op);
  return out;
}

std::vector<Diagnostic> inspect_guests(Context& context, PluginRegistry& registry,
                                       const BoundPlan& plan, bool everything,
                                       std::vector<VmRoute>& routes) {
  std::vector<Diagnostic> out;
  SessionServices services;
  if (everything) services.journal = StateStore::open(default_state_dir());  // of what is made
  const auto journal = services.journal;
  Session session(registry, plan.orchestrator.providers, std::move(services));
  for (std::size_t i = 0; i < routes.size() && i < plan.migrations.size(); ++i) {
    const MigrationConfig& job = plan.migrations[i];
    VmRoute& route = routes[i];
    const bool by_plugin = everything && job.guest.wanted;
    if (route.finished || route.disks.empty()) continue;
    if (!by_plugin && (!is_seekable(route) || (!everything && !are_files(route)))) continue;
    Operation op(route.vm.name, context.cancel(), {journal});
    try {
      GuestInspection seen;
      if (!by_plugin)
        seen = inspect_guest(session, job.provider, std::nullopt, route, job.guest, op);
      for (const PluginChoice& plugin : by_plugin ? job.guest_plugins : Plugins{})
        add(seen, inspect_guest(session, job.provider, plugin, route, job.guest, op));
      out.insert(out.end(), seen.notices.begin(), seen.notices.end());
      take_findings(registry, job, seen, route, out);
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      if (diagnostic.path.empty()) diagnostic.path = "vm/" + route.vm.name;
      // The run will say whether it is one.
      if (!everything) diagnostic.severity = Severity::kWarning;
      out.push_back(std::move(diagnostic));
    }
  }
  return out;
}

}  // namespace hyperhost
