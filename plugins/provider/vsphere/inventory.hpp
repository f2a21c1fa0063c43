// SPDX-License-Identifier: Apache-2.0
// Finds VMs: all of them, by pattern, or one by path, name, UUID or reference. Stateless, except
// for the shared names.
#ifndef HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP
#define HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP

#include "vm_index.hpp"

namespace hyper::vsphere {

/// Emits a summary for each VM. pattern: a glob over the name, or, with a '/' in it, over the
/// inventory path, where '*' does not cross a '/'; "" = all.
void list_vms(Session& session, Names& names, const std::string& pattern, Op op, const Emit& emit);

/// Finds a VM by path, name, UUID or reference. HYPER_NOTFOUND: no such VM. HYPER_CONFIG with the
/// candidates: several VMs match.
Ref find_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted,
            const http::Cancel& cancel);

/// Finds a VM that the host has described, by its reference. Any other text: as find_vm.
Ref described_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted,
                 const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
