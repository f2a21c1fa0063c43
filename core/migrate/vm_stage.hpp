// SPDX-License-Identifier: Apache-2.0
// A stage of one VM's migration. To add one: a class in a file of its own, a row in the table of
// vm_stage.cpp, a key of the plan that the row's `wanted` looks at. Made for each VM, used by its
// thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/events/stage.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

struct VmCheck;
struct VmRun;

class VmStage {
 public:
  virtual ~VmStage() = default;
  /// What watchers will see of it, in this order.
  virtual std::vector<Stage> announces(const MigrationConfig&) const { return {}; }
  /// Adds what keeps it from working to the route's findings. Changes nothing outside. Throws
  /// nothing for what is wrong.
  virtual void check(VmCheck&) {}
  /// Before any stage runs: takes over what an earlier run left. May throw Error.
  virtual void resume(VmRun&) {}
  /// Does it, and pushes onto VmRun::undo how each change is undone. Throws Error.
  virtual void run(VmRun&) = 0;
};

struct VmStageRow {
  std::function<bool(const MigrationConfig&)> wanted;
  std::function<std::unique_ptr<VmStage>()> make;
};

/// In the order in which they run.
using VmStageTable = std::vector<VmStageRow>;
const VmStageTable& vm_stage_table();

/// The stages that the job goes through.
std::vector<std::unique_ptr<VmStage>> stages_of(const VmStageTable& table,
                                                const MigrationConfig& job);

}  // namespace hyperhost
