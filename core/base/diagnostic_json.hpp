// SPDX-License-Identifier: Apache-2.0
// A diagnostic as JSON, for programs that read what the host prints and stores. Any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

/// {"severity", "code", "summary", "retryable"} and, where they are set, "detail", "hint", "path",
/// "where", "native_code", "retry_after_ms".
nlohmann::json diagnostic_json(const Diagnostic& diagnostic);

}  // namespace hyperhost
