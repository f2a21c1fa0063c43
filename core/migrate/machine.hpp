// SPDX-License-Identifier: Apache-2.0
// The machine that a VM is for, as plugins that prepare or boot its guest get it (guest.request and
// boot.request of sdk/schema). Stateless.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/plan/plan.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// Disks and network cards are in the order of the route and of the description.
nlohmann::json machine_of(const MachineSettings& machine, const VmRoute& route);

}  // namespace hyperhost
