// SPDX-License-Identifier: Apache-2.0
// From {env: NAME} and {file: PATH} to the secrets, at the moment they are needed and not before.
// Whatever is resolved is known to the Redactor before anyone can print it. Any thread, but not
// while another calls setenv.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/base/redactor.hpp"
#include "core/config/config_value.hpp"

namespace hyperhost {

inline constexpr size_t kMaxSecretBytes = 1024 * 1024;

struct SecretContext {
  std::filesystem::path base_dir;  ///< of relative {file: PATH}; empty = the working directory
  Redactor* redactor = &Redactor::global();
};

/// The options as JSON with every reference replaced by its secret; one trailing newline is cut
/// off. Nothing when one cannot be had: an unset or empty variable, an unreadable, empty or too
/// large file, one that is not UTF-8. A file readable by others and a secret too short to be
/// redacted are warnings. All are reported, at the place of the reference.
/// `pointer` is where `options` is in the plan.
std::optional<nlohmann::json> resolve_secrets(const ConfigValue& options,
                                              const std::string& pointer,
                                              const SecretContext& context,
                                              std::vector<Diagnostic>& problems);

/// The same for one text, plain or a reference.
std::optional<std::string> resolve_text(const ConfigValue& value, const std::string& pointer,
                                        const SecretContext& context,
                                        std::vector<Diagnostic>& problems);

}  // namespace hyperhost
