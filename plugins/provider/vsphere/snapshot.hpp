// SPDX-License-Identifier: Apache-2.0
// Our own snapshot of a VM: made under a name that says whose it is, removed on every path.
#ifndef HYPERHOST_PLUGINS_VSPHERE_SNAPSHOT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_SNAPSHOT_HPP

#include "debt.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

/// The name of a task's snapshot.
std::string snapshot_name(const std::string& task_id);

class OwnSnapshot {
 public:
  /// Journals, makes it and waits for it. When the wait is cancelled, what came of it is removed.
  OwnSnapshot(Session& session, const VmInfo& vm, const std::string& task_id,
              const VmOptions& options, Op op);
  const Ref& ref() const { return ref_; }
  /// Throws if it cannot be removed; the journal keeps it then.
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

/// Waits for the end, good or bad, of a snapshot's creation: of that task, or, where its reference
/// is unknown, of all creations that the VM's recent tasks show. Throws HYPER_BUSY where one still
/// runs after a minute.
void wait_for_creation(Session& session, const Ref& vm, const Ref& task,
                       const http::Cancel& cancel);

/// Moves the snapshots that killed runs of ours left from vm.snapshots to vm.leftovers.
void set_leftovers_apart(Session& session, VmInfo& vm, Op op);

/// Removes them. Throws where one cannot be; the journal keeps it then.
void remove_leftovers(Session& session, const VmInfo& vm, Op op);

/// Removes the VM's snapshot of that name, if there is one; `ref`, where known, must be it. Returns
/// once the VM's tree was read and does not have it.
void remove_snapshot(Session& session, const Ref& vm, const std::string& ref,
                     const std::string& name, const http::Cancel& cancel);

/// Whether disks wait for consolidation: after a snapshot's removal something went wrong then.
/// Throws where the server does not say.
bool needs_consolidation(Session& session, const Ref& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
