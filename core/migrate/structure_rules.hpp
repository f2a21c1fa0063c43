// SPDX-License-Identifier: Apache-2.0
// The prediction from what a VM's disks hold: the table of rules about partitions, boot loaders,
// file systems and encryption, and what they find. Stateless: any thread.
#pragma once

#include <string>
#include <vector>

#include "core/migrate/prediction.hpp"
#include "core/structures/disk_structure.hpp"
#include "core/vm/finding.hpp"

namespace hyperhost {

struct StructureRule {
  const char* id;
  Severity severity;  ///< the highest
  const char* reads;  ///< for people
  const char* summary;
  const char* fixable_by;
  const char* hint;
};

/// In the order in which they are reported.
const std::vector<StructureRule>& structure_rules();

/// REQUIRES: a structure for each disk of the input.
std::vector<VmFinding> find_in_structures(const PredictionInput& input,
                                          const std::vector<DiskStructure>& structures);

}  // namespace hyperhost
