// SPDX-License-Identifier: Apache-2.0
// Running a plan, or only checking it: what `hyperhost run`, `hyperhost validate` and hyperexport
// have in common, which is all but where the plan comes from.
#pragma once

#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {

struct RunOptions {
  std::string plan;       ///< the file; how messages call the plan where it has a text
  std::string text;       ///< the plan itself; empty: it is read from the file
  PlanOptions changes;    ///< --set and flags
  std::string converter;  ///< "" = as the plan says
  bool dry_run = false;
  bool fresh = false;    ///< resume from no earlier run
  bool verbose = false;  ///< a long report
  bool inspect = false;  ///< a check looks into the guests that are prepared
};

/// Returns the exit status.
int run_plan(Context& context, const RunOptions& options, bool only_check);

}  // namespace hyperhost
