// SPDX-License-Identifier: Apache-2.0
// YAML text → ConfigValue with marks. The text is hostile: size, depth and the growth by
// aliases are bounded before memory is spent. Stateless: any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/config/config_value.hpp"

namespace hyperhost {

inline constexpr size_t kMaxYamlBytes = 4 * 1024 * 1024;  ///< 1,000 VMs need a tenth of it
inline constexpr size_t kMaxYamlDepth = 64;
inline constexpr size_t kMaxYamlNodes = 500'000;  ///< after aliases are expanded

/// Reads one document, of YAML 1.2's core schema (yes, on and 0777 are strings). Aliases and
/// merge keys (<<) are expanded. `source` names the text in marks. Nothing where it is no YAML;
/// keys written twice and unknown tags are reported and the value still returned.
std::optional<ConfigValue> read_yaml(std::string_view text, const std::string& source,
                                     std::vector<Diagnostic>& problems);

}  // namespace hyperhost
