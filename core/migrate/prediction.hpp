// SPDX-License-Identifier: Apache-2.0
// The prediction from a VM's description alone, without a byte of its disks: a table of rules, and
// what they find. Stateless: any thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/vm/finding.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// What a rule looks at.
struct PredictionInput {
  const VmDescription& vm;
  const std::vector<DiskRoute>& disks;  ///< those that are migrated
  const GuestSettings& guest;           ///< the machine that the VM is for
};

/// Gets what a rule has found: the disk's id ("" = the VM), and the evidence.
using FoundBy = std::function<void(const std::string& disk, const std::string& evidence)>;

struct PredictionRule {
  const char* id;
  Severity severity;
  const char* reads;  ///< members of the description, for people
  const char* summary;
  const char* fixable_by;
  const char* hint;
  void (*look)(const PredictionInput& input, const FoundBy& found);
};

/// In the order in which they are reported.
const std::vector<PredictionRule>& prediction_rules();

std::vector<VmFinding> predict(const PredictionInput& input);

struct VmCheck;

/// Preflight's part: the findings of the route, with warnings and errors among its diagnostics. An
/// error that the plan accepts is a warning.
void check_prediction(VmCheck& check);

}  // namespace hyperhost
