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

  Session& session_;
  const Ref vm_;
  const std::string vm_name_, name_;
  Debt debt_;
  Ref ref_;
};

/// Removes the VM's snapshot of that name, if there is one; `ref`, where told, must be it.
void remove_snapshot(Session& session, const Ref& vm, const std::string& ref,
                     const std::string& name, const http::Cancel& cancel);

/// Whether disks wait for consolidation: after a snapshot's removal something went wrong then.
bool needs_consolidation(Session& session, const Ref& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
