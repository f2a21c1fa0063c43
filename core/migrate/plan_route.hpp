// SPDX-License-Identifier: Apache-2.0
// Decides the route of each disk of a VM: in one pass where provider, converter and storage can,
// staged where they cannot, and why.
#pragma once

#include "core/migrate/session.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// Asks the configured converter how it would take route.disk and fills in the rest of the route;
/// returns its answer. Throws Error(kUnsupported) with its reason if it cannot.
nlohmann::json plan_conversion(Session& session, const MigrationConfig& config, DiskRoute& route,
                               Operation& op);

struct VmCheck;

/// The transfer's part of preflight: how each disk goes, and whether an earlier run finished the
/// VM.
void plan_disks(VmCheck& check);

/// Connects and asks; changes nothing. Throws Error if the VM cannot even be described; everything
/// else (target exists, no space, a disk that no converter takes) is a finding.
VmRoute plan_route(Session& session, const MigrationConfig& config, Operation& op);

}  // namespace hyperhost
