// SPDX-License-Identifier: Apache-2.0
// A plan's tree as YAML that people read and the parser reads back. Stateless: any thread.
#pragma once

#include <string>

#include "core/config/config_value.hpp"

namespace hyperhost {

/// Block style, in the order written; references to secrets stay references.
std::string plan_yaml(const ConfigValue& document);

}  // namespace hyperhost
