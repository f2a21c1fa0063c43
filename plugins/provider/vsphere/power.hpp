// SPDX-License-Identifier: Apache-2.0
// The power policy of one VM: what is done to it before it is read, and taken back if asked.
#ifndef HYPERHOST_PLUGINS_VSPHERE_POWER_HPP
#define HYPERHOST_PLUGINS_VSPHERE_POWER_HPP

#include <optional>

#include "debt.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

class PowerChange {
 public:
  /// Does what the policy says; vm.power is what it is afterwards. What a killed run owes for this
  /// VM's power is this one's from now on: nothing once it is migrated.
  PowerChange(Session& session, VmInfo& vm, const std::string& task_id, const VmOptions& options,
              Op op);
  /// The migration is over: on failure the VM is powered on again if that was asked for.
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

/// Powers the VM on unless it is.
void power_on(Session& session, const Ref& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
