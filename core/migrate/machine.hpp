// SPDX-License-Identifier: Apache-2.0
// The machine that a VM is for, one document for the plugins that prepare, boot and define it and
// for the manifest (machine.json of sdk/schema). Stateless.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/plan/plan.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// The machine by the settings of one section of the plan, with the plan's names of the target.
/// Disks and network cards are in the order of the route and of the description. Its firmware is
/// "unknown" where the source does not say.
nlohmann::json machine_of(const MachineSettings& machine, const TargetSettings& target,
                          const VmRoute& route);

/// The same for a machine that is built: BIOS where the source does not say. guest: what a
/// preparation found (MigrationResult::guest), or null.
nlohmann::json machine_to_build(const MachineSettings& machine, const TargetSettings& target,
                                const VmRoute& route, const nlohmann::json& guest);

/// The disk that the machine boots from. REQUIRES: a disk.
const DiskRoute& boot_disk(const VmRoute& route);

/// The name that the plan maps a source's name to; "" = none.
std::string mapped(const std::map<std::string, std::string>& names, const std::string& name);

}  // namespace hyperhost
