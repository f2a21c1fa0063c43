// SPDX-License-Identifier: Apache-2.0
// A look into a VM's guest, where the VM is: `inspect` and `validate`. Stateless; the session's
// thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/migrate/structure_check.hpp"
#include "core/run/bind_plan.hpp"
#include "core/vm/finding.hpp"
#include "core/vm/route.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {

struct GuestInspection {
  StructureReport structures;       ///< without findings whose rule the plugin names, too
  nlohmann::json answer;            ///< as in guest.inspection; null without a plugin
  std::vector<VmFinding> findings;  ///< of the answer
  uint64_t bytes_read = 0;          ///< from the source
  std::vector<Diagnostic> notices;  ///< of giving the VM back
};

/// Opens the VM at its provider, looks at the structures of its disks, lends them to the plugin
/// unless there is none, and gives the VM back, also after a failure, which is an Error.
GuestInspection inspect_guest(Session& session, const std::string& provider,
                              const std::optional<PluginChoice>& plugin, const VmRoute& route,
                              const GuestSettings& guest, Operation& op);

/// Of `validate`: looks at the structures of disks that are files and on no datastore, and adds
/// what is found to the routes. everything: of `--inspect`: at all disks that can be read in any
/// order, and into every guest that the plan prepares. Returns the errors that neither the plugin
/// changes nor the plan accepts, and the VMs that could not be looked at.
std::vector<Diagnostic> inspect_guests(Context& context, PluginRegistry& registry,
                                       const BoundPlan& plan, bool everything,
                                       std::vector<VmRoute>& routes);

/// A finding of a guest plugin that the plugin itself changes in a preparation.
inline bool is_fixable(const VmFinding& finding) {
  return !finding.fixable_by.empty();
}

/// An error that is left when the plan has its way.
inline bool stands(const VmFinding& finding) {
  return finding.severity == Severity::kError && !finding.accepted;
}

}  // namespace hyperhost
