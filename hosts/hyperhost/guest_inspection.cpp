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

}  // namespace

GuestInspection inspect_guest(Session& session, const std::string& provider,
                              const PluginChoice& plugin, const VmRoute& route,
                              const MachineSettings& machine, Operation& op) {
  for (const DiskRoute& disk : route.disks) check_seekable(route.vm, disk.disk);
  GuestHandle& guest = session.guest(plugin, op);
  const json request = {{"vm", route.vm.document}, {"machine", machine_of(machine, {}, route)}};
  static_cast<void>(guest.plan(op, request));
  GuestDisks disks(session, provider, route, op);
  GuestInspection out;
  try {
    out.answer = guest.inspect(op, request, disks.blocks());
  } catch (...) {
    static_cast<void>(disks.close(op));
    throw;
  }
  for (const json& one : out.answer.value("findings", json::array()))
    out.findings.push_back(finding_from(one));
  out.bytes_read = disks.bytes_read();
  out.notices = disks.close(op);
  return out;
}

std::vector<Diagnostic> inspect_guests(Context& context, PluginRegistry& registry,
                                       const BoundPlan& plan, std::vector<VmRoute>& routes) {
  std::vector<Diagnostic> out;
  SessionServices services;
  services.journal = StateStore::open(default_state_dir());  // of what is made at the source
  const auto journal = services.journal;
  Session session(registry, plan.orchestrator.providers, std::move(services));
  for (std::size_t i = 0; i < routes.size() && i < plan.migrations.size(); ++i) {
    const MigrationConfig& job = plan.migrations[i];
    VmRoute& route = routes[i];
    if (!job.guest.wanted || route.finished) continue;
    Operation op(route.vm.name, context.cancel(), {journal});
    try {
      const GuestInspection seen =
          inspect_guest(session, job.provider, job.guest_plugin, route, job.guest.machine, op);
      out.insert(out.end(), seen.notices.begin(), seen.notices.end());
      const auto& accepted = job.guest.accept;
      for (VmFinding one : seen.findings) {
        one.accepted = one.severity == Severity::kError &&
                       std::find(accepted.begin(), accepted.end(), one.rule) != accepted.end();
        if (stands(one) && !is_fixable(one)) out.push_back(one.diagnostic(route.vm.name));
        route.predicted.push_back(std::move(one));
      }
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      if (diagnostic.path.empty()) diagnostic.path = "vm/" + route.vm.name;
      out.push_back(std::move(diagnostic));
    }
  }
  return out;
}

}  // namespace hyperhost
