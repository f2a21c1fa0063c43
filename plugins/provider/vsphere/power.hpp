// SPDX-License-Identifier: Apache-2.0
// The power policy of one VM: changes its power state before the VM is read, and restores it on
// request.
#ifndef HYPERHOST_PLUGINS_VSPHERE_POWER_HPP
#define HYPERHOST_PLUGINS_VSPHERE_POWER_HPP

#include <optional>

#include "debt.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

class PowerChange {
 public:
  /// Applies the policy and sets vm.power to the new state. Takes over the journal entry in which a
  /// killed run changed this VM's power. The entry is settled once the VM is migrated.
  PowerChange(Session& session, VmInfo& vm, const std::string& task_id, const VmOptions& options,
              Op op);
  /// Call it after the migration. If that failed, it powers the VM on again if the options say so.
  void end(bool success, Op op);

 private:
  void shut_down(VmInfo& vm, const VmOptions& options, Op op);
  bool wait_until_off(const Ref& vm, std::chrono::nanoseconds limit, Op op);

  Session& session_;
  const Ref vm_;
  const std::string vm_name_;
  bool restore_;
  std::optional<Debt> debt_;
};

/// Powers the VM on if it is off.
void power_on(Session& session, const Ref& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
