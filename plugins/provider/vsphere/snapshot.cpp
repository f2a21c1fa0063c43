// SPDX-License-Identifier: Apache-2.0
#include "snapshot.hpp"

#include <algorithm>

namespace hyper::vsphere {
namespace {

constexpr auto kSnapshotBusy = std::chrono::minutes(5);  // as long as an unattended lease lasts
constexpr auto kSettle = std::chrono::seconds(60);       // for a creation that was cancelled

std::vector<Snapshot> snapshots_of(Session& session, const Ref& vm, const http::Cancel& cancel) {
  const std::string what = "cannot read the VM's snapshots";
  const Retrieved got = retrieve_one(session, vm, {"name", "snapshot"}, what, cancel);
  // A VM without snapshots has no such property. Every VM has a name: it shows that the read
  // worked.
  got.object.required("name", what);
  return read_snapshots(got.object.known("snapshot", what));
}

/// Whether that task has ended, or makes no snapshot.
bool is_over(Session& session, const Ref& task, const http::Cancel& cancel) {
  const std::string what = "cannot read the task that makes a snapshot";
  try {
    const Retrieved got =
        retrieve_one(session, task, {"info.state", "info.descriptionId"}, what, cancel);
    const std::string state = got.object.required("info.state", what);
    const std::string kind = got.object.text("info.descriptionId");
    return state == "success" || state == "error" ||
           (!kind.empty() && kind.find("createSnapshot") == std::string::npos);
  } catch (const Fault& fault) {
    if (!fault.is("ManagedObjectNotFound")) throw;  // servers forget tasks that have ended
    return true;
  }
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
    give_up(op);
    throw;
  } catch (const Reported&) {  // cancelled, but the server continues
    give_up(op);
    throw;
  }
  debt_.name(ref_.id, op);
}

/// Call it if the creation failed or was given up. It settles the entry only if the VM's tree shows
/// that the snapshot does not exist.
void OwnSnapshot::give_up(Op op) noexcept {
  try {
    const auto never = http::Cancel::never();
    wait_for_creation(session_, vm_, task_, never);
    remove_snapshot(session_, vm_, "", name_, never);
    debt_.settle(op);
  } catch (...) {  // cleanup finds it in the journal
  }
}

Ref OwnSnapshot::create(const VmInfo& vm, const std::string& task_id, bool quiesce, Op op) {
  const std::string what = "cannot make a snapshot of '" + vm.name + "'";
  Args args;
  args.text("name", name_)
      .text("description", "Made by hyperhost for the migration " + task_id +
                               ", which removes it when it ends. See hyperhost cleanup.")
      .flag("memory", false)
      .flag("quiesce", quiesce);
  task_ = while_busy(kSettle, op, [&] {
    // Never cancelled: without the answer the task's reference is unknown.
    return ref_in(
        session_.call("CreateSnapshot_Task", vm.ref, args, what, http::Cancel::never()).value());
  });
  debt_.note("task", task_.id, op);
  return wait_for_task(session_, task_, what, op);
}

void OwnSnapshot::remove(Op op, const http::Cancel& cancel) {
  remove_snapshot(session_, vm_, ref_.id, name_, cancel);
  debt_.settle(op);
}

void wait_for_creation(Session& session, const Ref& vm, const Ref& task,
                       const http::Cancel& cancel) {
  std::vector<Ref> tasks;
  if (!task.empty()) {
    tasks.push_back(task);
  } else {
    const std::string what = "cannot read the VM's recent tasks";
    const Retrieved got = retrieve_one(session, vm, {"name", "recentTask"}, what, cancel);
    got.object.required("name", what);
    each(got.object.known("recentTask", what), "ManagedObjectReference",
         [&](const pugi::xml_node& one) { tasks.push_back(ref_in(one)); });
  }
  const auto until = std::chrono::steady_clock::now() + kSettle;
  std::chrono::nanoseconds wait = std::chrono::milliseconds(100);
  for (const Ref& one : tasks) {
    while (!is_over(session, one, cancel)) {
      if (std::chrono::steady_clock::now() > until)
        throw Error(HYPER_BUSY, "a snapshot is still being made", "by the task " + one.id)
            .hint("Run hyperhost cleanup again when that task has ended.")
            .retryable();
      pause(wait, cancel);
      wait = std::min<std::chrono::nanoseconds>(wait * 2, std::chrono::seconds(1));
    }
  }
}

void remove_snapshot(Session& session, const Ref& vm, const std::string& ref,
                     const std::string& name, const http::Cancel& cancel) {
  const std::string what = "cannot remove the snapshot '" + name + "'";
  const auto is_it = [&](const Snapshot& one) {
    return one.name == name && (ref.empty() || one.ref.id == ref);
  };
  while_busy(kSnapshotBusy, cancel, [&] {
    bool found = false;
    for (const Snapshot& one : snapshots_of(session, vm, cancel)) {
      if (!is_it(one)) continue;
      found = true;
      Args args;
      args.flag("removeChildren", false).flag("consolidate", true);
      try {
        run_task(session, "RemoveSnapshot_Task", one.ref, args, what, cancel);
      } catch (const Fault& fault) {
        if (!fault.is("ManagedObjectNotFound")) throw;
      }
    }
    if (!found) return;
    const auto left = snapshots_of(session, vm, cancel);
    if (std::any_of(left.begin(), left.end(), is_it))
      throw Fault(what, "InvalidState", "", "the VM still has it");
  });
}

void set_leftovers_apart(Session& session, VmInfo& vm, Op op) {
  if (vm.snapshots.empty()) return;
  const std::vector<std::string> names = left_open(session, "snapshot", vm.ref, "name", op);
  const auto ours =
      std::stable_partition(vm.snapshots.begin(), vm.snapshots.end(), [&](const Snapshot& one) {
        return std::find(names.begin(), names.end(), one.name) == names.end();
      });
  vm.leftovers.assign(ours, vm.snapshots.end());
  vm.snapshots.erase(ours, vm.snapshots.end());
}

void remove_leftovers(Session& session, const VmInfo& vm, Op op) {
  for (Debt& debt : Debt::all_taken_over(session, "snapshot", vm.ref, op)) {
    const std::string name = debt.at("name");
    if (name.empty() || name != snapshot_name(debt.at("task_id"))) continue;
    if (debt.at("ref").empty()) wait_for_creation(session, vm.ref, {"Task", debt.at("task")}, op);
    remove_snapshot(session, vm.ref, debt.at("ref"), name, op);
    debt.settle(op);
    op.note(Error(HYPER_OK, "the snapshot '" + name + "', which a killed run left, is removed")
                .at("vm/" + vm.name));
  }
}

bool needs_consolidation(Session& session, const Ref& vm, const http::Cancel& cancel) {
  const std::string what = "cannot see whether the VM's disks need consolidation";
  return text(retrieve_one(session, vm, {"runtime.consolidationNeeded"}, what, cancel)
                  .object.known("runtime.consolidationNeeded", what)) == "true";
}

}  // namespace hyper::vsphere
