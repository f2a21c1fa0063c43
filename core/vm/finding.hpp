// SPDX-License-Identifier: Apache-2.0
// What may go wrong with a VM on its new machine, found before its disks are copied. Plain values.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

struct VmFinding {
  std::string rule;  ///< its id: "vm.passthrough"
  Severity severity = Severity::kInfo;
  std::string summary;          ///< one sentence, the same for every VM
  std::string disk;             ///< its id; "" = of the VM as a whole
  std::string evidence;         ///< what it was found by
  std::string fixable_by;       ///< "source", "target", "guest", or a plugin; "" = nothing is known
  std::string hint;             ///< what to do about it
  bool accepted = false;        ///< an error that the plan lists in guest.accept
  bool left_to_plugin = false;  ///< an error that the plan's guest plugin judges or changes itself

  /// An accepted error is a warning.
  Diagnostic diagnostic(const std::string& vm) const;
};

/// As in guest.inspection, where an info is a "note".
nlohmann::json finding_json(const VmFinding& finding);
/// Of a plugin's answer. Control characters are left out, and texts are cut.
VmFinding finding_from(const nlohmann::json& finding);

/// "note", "warning", "error".
const char* finding_severity_name(Severity severity);

}  // namespace hyperhost
