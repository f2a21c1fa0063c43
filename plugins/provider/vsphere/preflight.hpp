// SPDX-License-Identifier: Apache-2.0
// What can be known to be in the way before anything is touched. Reads only.
#ifndef HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP

#include "vm_info.hpp"

namespace hyper::vsphere {

/// Reports every finding; throws Reported when one of them is an error.
void check_vm(Session& session, const VmInfo& vm, const VmOptions& options, Op op);

/// Why a disk of a VM cannot be exported, with what to do; nothing if it can. frozen: it is read
/// from a snapshot.
std::optional<Error> unfit(const VmInfo& vm, const Disk& disk, bool frozen);

}  // namespace hyper::vsphere

#endif
