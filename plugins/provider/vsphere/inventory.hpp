// SPDX-License-Identifier: Apache-2.0
// Finding VMs: all of them, by pattern, or one by path, name, UUID or reference. Stateless but for
// the names it shares.
#ifndef HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP
#define HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP

#include "vm_index.hpp"

namespace hyper::vsphere {

/// Emits a summary for each VM. pattern: a glob over the name, or, with a '/' in it, over the
/// inventory path, where '*' does not cross a '/'; "" = all.
void list_vms(Session& session, Names& names, const std::string& pattern, Op op, const Emit& emit);

/// By path, name, UUID or reference. HYPER_NOTFOUND; HYPER_CONFIG with the candidates where several
/// VMs can be meant.
Ref find_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted,
            const http::Cancel& cancel);

/// What the host calls a VM that it has described: its reference. Anything else as find_vm.
Ref described_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted,
                 const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
