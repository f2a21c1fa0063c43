// SPDX-License-Identifier: Apache-2.0
// From the completed tree to the fields of Plan. Internal to core/plan; stateless: any thread.
#pragma once

#include "core/config/config_value.hpp"
#include "core/plan/plan.hpp"

namespace hyperhost {

/// Reads what is right of `document` into `plan` and leaves the rest at its default, so that the
/// rules can be checked, and all problems be reported, even where the schema has found some.
void read_plan(const ConfigValue& document, Plan& plan);

/// NAME or {plugin: NAME, options: {…}}
PluginSpec read_converter(const ConfigValue& value, const std::string& pointer);

}  // namespace hyperhost
