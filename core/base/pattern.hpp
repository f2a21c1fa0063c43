// SPDX-License-Identifier: Apache-2.0
// Regular expressions of schemas (ECMAScript's dialect). Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace hyperhost {

inline constexpr size_t kMaxMatchedBytes = 4096;  ///< the plan's longest text

/// Is it a regular expression, without back-references?
bool pattern_is_valid(const std::string& pattern);

/// Does `text` have it somewhere, as JSON Schema reads `pattern`? A text beyond kMaxMatchedBytes
/// does not. Linear in the text. REQUIRES: pattern_is_valid(pattern).
bool pattern_matches(const std::string& pattern, const std::string& text);

}  // namespace hyperhost
