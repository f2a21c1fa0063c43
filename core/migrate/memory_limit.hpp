// SPDX-License-Identifier: Apache-2.0
// What batch.memory_limit means: each instance of a converter gets a share, through the option that
// the mark x-hyper-memory names in its plugin's schema. Stateless: any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/plugin/registry.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

/// The option that says how many bytes all disks of one instance may work with; 0 = as many as the
/// plugin likes.
struct MemoryOption {
  std::string name;
  uint64_t least = 0;  ///< with so many it converts any disk
};
/// Nothing where the plugin has none: it cannot be bounded.
std::optional<MemoryOption> memory_option(const PluginRegistry& registry,
                                          const std::string& plugin);

/// Gives the instances whose memory the plan leaves open equal shares of what the others leave.
/// Returns what is wrong with the limit, at its place in the plan.
std::vector<Diagnostic> share_memory(const Plan& plan, const PluginRegistry& registry,
                                     std::vector<MigrationConfig>& migrations);

}  // namespace hyperhost
