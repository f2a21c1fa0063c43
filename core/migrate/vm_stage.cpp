// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/vm_stage.hpp"

#include "core/migrate/stages/stages.hpp"

namespace hyperhost {

const VmStageTable& vm_stage_table() {
  const auto always = [](const MigrationConfig&) { return true; };
  const auto uploads = [](const MigrationConfig& job) { return job.upload_to_cloud; };
  const auto defines = [](const MigrationConfig& job) { return job.target.wanted; };
  const auto boots = [](const MigrationConfig& job) { return job.boot.wanted; };
  static const VmStageTable table = {
      {always, transfer_stage}, {always, commit_stage},
      {boots, boot_stage},      {uploads, upload_stage},
      {defines, define_stage},  {always, manifest_stage},  // last: it says that the set is complete
  };
  return table;
}

std::vector<std::unique_ptr<VmStage>> stages_of(const VmStageTable& table,
                                                const MigrationConfig& job) {
  std::vector<std::unique_ptr<VmStage>> out;
  for (const VmStageRow& row : table)
    if (row.wanted(job)) out.push_back(row.make());
  return out;
}

}  // namespace hyperhost
