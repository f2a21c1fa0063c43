// SPDX-License-Identifier: Apache-2.0
// What a guest recorded of its boots, read by a guest plugin before and after the boot check. A
// boot that the guest recorded on its disks was one, whatever its console showed. Stateless.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/block/block_device.hpp"

namespace hyperhost {

struct VmCheck;
struct VmRun;

/// Preflight's part: an error unless the guest plugin takes the VM and reads traces.
void check_traces(VmCheck& check);

/// The "traces" of the plugin's answer for the disks, in the order of the VM's. Throws Error.
nlohmann::json read_traces(VmRun& run, const std::vector<std::shared_ptr<BlockDevice>>& disks);

/// Adds to the answer of a boot plugin what was recorded between the two: the grade "traces" with
/// its evidence, or the failure "no-traces"; the notes that are new. ms: since the machine started.
void add_traces(const nlohmann::json& before, const nlohmann::json& after, uint64_t ms,
                nlohmann::json& answer);

}  // namespace hyperhost
