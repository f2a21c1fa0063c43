// SPDX-License-Identifier: Apache-2.0
// A plan; what follows a line "--set" is an override.
#include <nlohmann/json.hpp>

#include "core/plan/plan.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  std::vector<std::string> parts = fuzz::parts_of(fuzz::text_of(data, size), "--set");
  hyperhost::PlanOptions options;
  options.base_dir = "/nonexistent";
  for (std::size_t i = 1; i < parts.size() && i < 8; ++i) {
    if (!parts[i].empty()) parts[i].pop_back();
    options.overrides.push_back(parts[i]);
  }
  const hyperhost::PlanResult result = hyperhost::parse_plan(parts[0], "plan.yaml", options);
  if (!result.plan && result.diagnostics.empty()) fuzz::fail("a plan is refused without a word");
  if (result.plan) result.plan->document.to_json().dump();
  return 0;
}
