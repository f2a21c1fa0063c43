// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/prediction.hpp"

#include <algorithm>

#include "core/migrate/vm_run.hpp"

namespace hyperhost {

std::vector<VmFinding> predict(const PredictionInput& input) {
  std::vector<VmFinding> out;
  for (const PredictionRule& rule : prediction_rules())
    rule.look(input, [&](const std::string& disk, const std::string& evidence) {
      VmFinding one;
      one.rule = rule.id;
      one.severity = rule.severity;
      one.summary = rule.summary;
      one.disk = disk;
      one.evidence = evidence;
      one.fixable_by = rule.fixable_by;
      one.hint = rule.hint;
      out.push_back(std::move(one));
    });
  return out;
}

void check_prediction(VmCheck& check) {
  VmRoute& route = check.route;
  const std::vector<std::string>& accepted = check.job.guest.accept;
  for (VmFinding& one : predict({route.vm, route.disks, check.job.guest})) {
    one.accepted = one.severity == Severity::kError &&
                   std::find(accepted.begin(), accepted.end(), one.rule) != accepted.end();
    if (one.severity != Severity::kInfo) route.findings.push_back(one.diagnostic(route.vm.name));
    route.predicted.push_back(std::move(one));
  }
}

}  // namespace hyperhost
