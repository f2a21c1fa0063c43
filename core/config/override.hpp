// SPDX-License-Identifier: Apache-2.0
// --set: changes to a plan's tree before it is validated. Stateless: any thread.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/config/config_value.hpp"

namespace hyperhost {

/// "a.b[0].c=value": sets the value, which is YAML (true, 4, [a, b], {env: X}). Mappings on the
/// way are made, a list grows by one at most ([N] of N items); a key that contains '.', '[' or
/// '=' is put in double quotes (providers."my.lab".path). The marks say "--set a.b[0].c", or `flag`
/// where another flag than --set means it.
/// False, with one problem that never shows the value, where it cannot be done.
bool apply_override(ConfigValue& plan, std::string_view argument, std::vector<Diagnostic>& problems,
                    const std::string& flag = {});

}  // namespace hyperhost
