// SPDX-License-Identifier: Apache-2.0
// What `validate` and --dry-run print of a plan that can run. Pure functions, any thread.
#pragma once

#include <string>
#include <vector>

#include "core/run/plan_estimate.hpp"

namespace hyperhost {

/// A line for each VM.
std::string routes_table(const std::vector<VmRoute>& routes);
/// What is predicted of the VMs, a line for each rule; "" = nothing.
std::string findings_table(const std::vector<VmRoute>& routes);
/// The plan as a whole: VMs, bytes, space, time, warnings; for a change board.
std::string estimate_text(const PlanEstimate& estimate, const std::vector<Diagnostic>& said);

}  // namespace hyperhost
