// SPDX-License-Identifier: Apache-2.0
// From a plan's words to what the orchestrator runs: plugins found, their options validated against
// their own schemas (with file, line and key), secrets resolved, VM patterns expanded. What a host
// does between reading a plan and starting it; shared by every host.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/plugin/registry.hpp"
#include "core/run/orchestrator.hpp"

namespace hyperhost {

struct BoundPlan {
  OrchestratorConfig orchestrator;
  std::vector<MigrationConfig> migrations;  ///< patterns not expanded yet
  std::vector<const MigrationSpec*> specs;  ///< of the same index; owned by the plan
  BatchOptions batch;
  std::vector<Diagnostic> diagnostics;
  bool ok = false;
};

/// `converter`: --converter, instead of every converter the plan names (its options are kept where
/// it is the same plugin). Loads plugins, connects to nothing. Never throws for what is wrong.
BoundPlan bind_plan(const Plan& plan, PluginRegistry& registry,
                    const std::optional<std::string>& converter = std::nullopt);

/// Replaces each pattern by the VMs it matches, in the provider's order; two VMs that would share
/// a directory, and a pattern that matches nothing, are errors. Connects to the providers of
/// patterns only.
std::vector<Diagnostic> expand_patterns(BoundPlan& bound, MigrationOrchestrator& orchestrator,
                                        const std::shared_ptr<CancelSource>& cancel);

/// What the orchestrator's audit log is to be, as the plan says it.
AuditOptions audit_options(const AuditLogSpec& spec);

}  // namespace hyperhost
