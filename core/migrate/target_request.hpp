// SPDX-License-Identifier: Apache-2.0
// What the host asks a plugin of the kind "target" of one VM (target.request and target.disk of
// sdk/schema), and by what it knows again what it made there. Stateless.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// The machine's name at its target.
std::string target_name(const MigrationConfig& job, const VmDescription& vm);

/// The same in each run that migrates this VM to this place: 32 hex digits.
std::string target_mark(const MigrationConfig& job, const VmRoute& route);

/// The request of plan; results: of the delivered disks, or null before there are any.
nlohmann::json target_request(const MigrationConfig& job, const VmRoute& route,
                              const MigrationResult* result);

}  // namespace hyperhost
