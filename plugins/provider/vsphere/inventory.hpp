// SPDX-License-Identifier: Apache-2.0
// Finding VMs: all of them, by pattern, or one by path, name, UUID or reference. Stateless but for
// the names it shares.
#ifndef HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP
#define HYPERHOST_PLUGINS_VSPHERE_INVENTORY_HPP

#include "names.hpp"

namespace hyper::vsphere {

/// Emits a summary for each VM. pattern: a glob over the name, or, with a '/' in it, over the
/// inventory path, where '*' does not cross a '/'; "" = all.
void list_vms(Session& session, Names& names, const std::string& pattern, Op op, const Emit& emit);

/// HYPER_NOTFOUND; HYPER_CONFIG with the candidates where a name is not unique.
Ref find_vm(Session& session, Names& names, const std::string& wanted, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
