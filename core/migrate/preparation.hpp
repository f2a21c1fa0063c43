// SPDX-License-Identifier: Apache-2.0
// Prepares the guest of a VM for the machine that the VM is for, before its disks are copied: a
// plugin writes to views of the disks, all of them or none, and the pass reads the views. Functions
// of the transfer stage, by the VM's thread.
#pragma once

#include "core/block/block_table.hpp"
#include "core/plan/plan.hpp"
#include "core/plugin/handles.hpp"

namespace hyperhost {

struct VmCheck;
struct VmRun;

/// Where the programs of a guest plugin may have disks.
BlockPlace place_of(const Plugin& plugin, const GuestSettings& settings);

/// Preflight's part: whether the plugin takes the VM. Findings, no changes.
void check_preparation(VmCheck& check);

/// Leaves a prepared view in each disk of the run. vm: null where all disks are blank. Throws
/// Error; what was written is dropped then with the disks.
void prepare_guest(VmRun& run, ProviderVmHandle* vm);

}  // namespace hyperhost
