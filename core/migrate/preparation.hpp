// SPDX-License-Identifier: Apache-2.0
// Prepares the guest of a VM for the machine that the VM is for, before its disks are copied: the
// plugins of the plan write to views of the disks, one after the other, all of them or none, and
// the pass reads the views. Functions of the transfer stage, by the VM's thread.
#pragma once

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct VmCheck;
struct VmRun;

/// Preflight's part: whether the plugins take the VM. Findings, no changes.
void check_preparation(VmCheck& check);

/// Leaves a prepared view in each disk of the run, or the disk as an earlier run has written it of
/// the same preparation. vm: null where all disks are blank. Throws Error; what was written is
/// dropped then with the disks.
void prepare_guest(VmRun& run, ProviderVmHandle* vm);

}  // namespace hyperhost
