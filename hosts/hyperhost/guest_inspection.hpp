// SPDX-License-Identifier: Apache-2.0
// A look into a VM's guest, where the VM is: `inspect` and `validate --inspect`. Stateless; the
// session's thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/run/bind_plan.hpp"
#include "core/vm/finding.hpp"
#include "core/vm/route.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {

struct GuestInspection {
  nlohmann::json answer;            ///< as in guest.inspection
  std::vector<VmFinding> findings;  ///< of the answer
  uint64_t bytes_read = 0;          ///< from the source
  std::vector<Diagnostic> notices;  ///< of giving the VM back
};

/// Opens the VM at its provider, lends its disks to the plugin, and gives the VM back, also after a
/// failure, which is an Error.
GuestInspection inspect_guest(Session& session, const std::string& provider,
                              const PluginChoice& plugin, const VmRoute& route,
                              const GuestSettings& settings, Operation& op);

/// Of `validate --inspect`: looks into every guest that the plan prepares and adds what is found to
/// the routes. Returns the errors that neither the plugin changes nor the plan accepts, and the VMs
/// that could not be looked at.
std::vector<Diagnostic> inspect_guests(Context& context, PluginRegistry& registry,
                                       const BoundPlan& plan, std::vector<VmRoute>& routes);

/// A finding of a guest plugin that the plugin itself changes in a preparation.
inline bool is_fixable(const VmFinding& finding) {
  return !finding.fixable_by.empty();
}

/// An error that is left when the plan has its way.
inline bool stands(const VmFinding& finding) {
  return finding.severity == Severity::kError && !finding.accepted;
}

}  // namespace hyperhost
