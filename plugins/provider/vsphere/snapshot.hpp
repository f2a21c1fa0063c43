// SPDX-License-Identifier: Apache-2.0
// A snapshot that this plugin makes of a VM. Its name contains the task id. It is removed on every
// path.
#ifndef HYPERHOST_PLUGINS_VSPHERE_SNAPSHOT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_SNAPSHOT_HPP

#include "debt.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

/// The name of a task's snapshot.
std::string snapshot_name(const std::string& task_id);

class OwnSnapshot {
 public:
  /// Writes the journal entry, makes the snapshot and waits for it. If the wait is cancelled, it
  /// removes the snapshot.
  OwnSnapshot(Session& session, const VmInfo& vm, const std::string& task_id,
              const VmOptions& options, Op op);
  const Ref& ref() const { return ref_; }
  /// Removes the snapshot. Throws if that fails; the journal then keeps the entry.
  void remove(Op op, const http::Cancel& cancel);

 private:
  Ref create(const VmInfo& vm, const std::string& task_id, bool quiesce, Op op);
  void give_up(Op op) noexcept;

  Session& session_;
  const Ref vm_;
  const std::string vm_name_, name_;
  Debt debt_;
  Ref task_, ref_;
};

/// Waits until the creation of a snapshot ends, with or without success: that task or, if its
/// reference is unknown, all creations among the VM's recent tasks. Throws HYPER_BUSY if one still
/// runs after a minute.
void wait_for_creation(Session& session, const Ref& vm, const Ref& task,
                       const http::Cancel& cancel);

/// Moves the snapshots that killed runs of ours left from vm.snapshots to vm.leftovers.
void set_leftovers_apart(Session& session, VmInfo& vm, Op op);

/// Removes them. Throws if one cannot be removed; the journal keeps its entry then.
void remove_leftovers(Session& session, const VmInfo& vm, Op op);

/// Removes the VM's snapshot of that name, if there is one. If `ref` is not empty, the snapshot
/// must also have that reference. Returns when the VM's snapshot tree does not contain it.
void remove_snapshot(Session& session, const Ref& vm, const std::string& ref,
                     const std::string& name, const http::Cancel& cancel);

/// Whether disks need consolidation, which means that a snapshot's removal went wrong. Throws if
/// the server does not report it.
bool needs_consolidation(Session& session, const Ref& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
