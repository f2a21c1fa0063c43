// SPDX-License-Identifier: Apache-2.0
// Options to check a plugin with: those that were given, those its manifest has under "check",
// or what its schema lets one guess. Stateless.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/plugin/operation.hpp"

namespace hyperhost::check {

/// Complete and resolved, as connect() or open() gets them. options_file: as in a plan (JSON or
/// YAML); relative paths count from it; "" = none given. Without one, the manifest's
/// {"check": {"options": {…}}} counts, with relative paths below `scratch`; what neither says and
/// the schema requires gets its default, first example or first enum value, a path a directory
/// with sample disks (an empty one for a storage), a secret a random text. Throws Error where a
/// value cannot be guessed or does not fit.
Options option_values(const nlohmann::json& manifest, const std::string& iface,
                      const std::string& options_file, const std::string& scratch);

/// Variations of `valid` that still fit the schema: empty, long and odd texts, ends of ranges,
/// each choice. At most `most`.
std::vector<nlohmann::json> option_variations(const nlohmann::json& manifest,
                                              const nlohmann::json& valid, std::size_t most);

}  // namespace hyperhost::check
