// SPDX-License-Identifier: Apache-2.0
#include "snapshot.hpp"

namespace hyper::vsphere {
namespace {

constexpr auto kBusy = std::chrono::minutes(5);     // as long as an unattended lease lasts
constexpr auto kSettle = std::chrono::seconds(60);  // for a creation that was cancelled
constexpr int kMaxDepth = 64;

struct Found {
  Ref ref;
  std::string name;
};

void collect(const pugi::xml_node& parent, const char* list, int depth, std::vector<Found>& out) {
  if (depth > kMaxDepth) return;
  each(parent, list, [&](const pugi::xml_node& node) {
    out.push_back({ref_in(child(node, "snapshot")), text(node, "name")});
    collect(node, "childSnapshotList", depth + 1, out);
  });
}

std::vector<Found> snapshots_of(Session& session, const Ref& vm, const http::Cancel& cancel) {
  const Retrieved got =
      retrieve_one(session, vm, {"name", "snapshot"}, "cannot read the VM's snapshots", cancel);
  std::vector<Found> out;
  collect(got.object.at("snapshot"), "rootSnapshotList", 0, out);
  return out;
}

bool quiesce_failed(const Fault& fault) {
  return fault.kind().find("Quiesce") != std::string::npos || fault.is("ToolsUnavailable");
}

}  // namespace

std::string snapshot_name(const std::string& task_id) {
  return "hyperhost " + task_id;
}

OwnSnapshot::OwnSnapshot(Session& session, const VmInfo& vm, const std::string& task_id,
                         const VmOptions& options, Op op)
    : session_(session),
      vm_(vm.ref),
      vm_name_(vm.name),
      name_(snapshot_name(task_id)),
      debt_(session, "snapshot", vm.ref, task_id, op, {{"name", snapshot_name(task_id)}}) {
  using Quiesce = VmOptions::Quiesce;
  const bool running = vm.power == "on";
  bool quiesce = running && (options.quiesce == Quiesce::kAlways ||
                             (options.quiesce == Quiesce::kAuto && vm.tools_running()));
  try {
    try {
      ref_ = create(vm, task_id, quiesce, op);
    } catch (const Fault& fault) {
      if (!quiesce || options.quiesce == Quiesce::kAlways || !quiesce_failed(fault)) throw;
      op.warn(Error(HYPER_FAIL, "the guest of '" + vm.name + "' could not settle its file systems",
                    fault.detail())
                  .hint("The snapshot is as after a power cut; file systems and databases recover "
                        "from that. quiesce: always makes this an error.")
                  .at("vm/" + vm.name));
      ref_ = create(vm, task_id, false, op);
    }
  } catch (const Fault&) {
    debt_.settle(op);  // the server says that there is none
    throw;
  }
  debt_.name(ref_.id, op);
}

Ref OwnSnapshot::create(const VmInfo& vm, const std::string& task_id, bool quiesce, Op op) {
  const std::string what = "cannot make a snapshot of '" + vm.name + "'";
  Args args;
  args.text("name", name_)
      .text("description", "Made by hyperhost for the migration " + task_id +
                               ", which removes it when it ends. See hyperhost cleanup.")
      .flag("memory", false)
      .flag("quiesce", quiesce);
  const Ref task = while_busy(kSettle, op, [&] {
    // Not cancelled in the middle: without the answer nobody knows the task.
    return ref_in(
        session_.call("CreateSnapshot_Task", vm.ref, args, what, http::Cancel::never()).value());
  });
  try {
    return wait_for_task(session_, task, what, op);
  } catch (const Reported&) {  // cancelled; the server goes on with it
    try {
      const auto never = http::Cancel::never();
      const auto until = std::chrono::steady_clock::now() + kSettle;
      for (;;) {
        const Retrieved got = retrieve_one(session_, task, {"info.state"}, what, never);
        const std::string state = got.object.text("info.state");
        if (state == "success" || state == "error") break;
        if (std::chrono::steady_clock::now() > until) throw Reported(HYPER_CANCELLED);
        pause(std::chrono::milliseconds(100), never);
      }
      remove_snapshot(session_, vm_, "", name_, never);
      debt_.settle(op);
    } catch (const std::exception&) {  // the journal has it
    }
    throw;
  }
}

void OwnSnapshot::remove(Op op, const http::Cancel& cancel) {
  remove_snapshot(session_, vm_, ref_.id, name_, cancel);
  debt_.settle(op);
}

void remove_snapshot(Session& session, const Ref& vm, const std::string& ref,
                     const std::string& name, const http::Cancel& cancel) {
  const std::string what = "cannot remove the snapshot '" + name + "'";
  while_busy(kBusy, cancel, [&] {
    for (const Found& one : snapshots_of(session, vm, cancel)) {
      if (one.name != name || (!ref.empty() && one.ref.id != ref)) continue;
      Args args;
      args.flag("removeChildren", false).flag("consolidate", true);
      try {
        run_task(session, "RemoveSnapshot_Task", one.ref, args, what, cancel);
      } catch (const Fault& fault) {
        if (!fault.is("ManagedObjectNotFound")) throw;
      }
    }
  });
}

bool needs_consolidation(Session& session, const Ref& vm, const http::Cancel& cancel) {
  return retrieve_one(session, vm, {"runtime.consolidationNeeded"}, "cannot look at the VM", cancel)
             .object.text("runtime.consolidationNeeded") == "true";
}

}  // namespace hyper::vsphere
