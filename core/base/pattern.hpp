// SPDX-License-Identifier: Apache-2.0
// Regular expressions of schemas (ECMAScript's dialect, bytes of UTF-8). A pattern may come from a
// stranger's manifest, so its size and the work it can cause are bounded. Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace hyperhost {

inline constexpr size_t kMaxMatchedBytes = 4096;  ///< the plan's longest text
inline constexpr size_t kMaxPatternBytes = 1024;
inline constexpr size_t kMaxPatternStates = 2000;  ///< [a-z]{1,63} counts 63

/// Why this is not usable as a pattern ("is not a regular expression", "is too large"), or "".
std::string pattern_problem(const std::string& pattern);

/// Is it a regular expression within the bounds, without back-references and assertions?
inline bool pattern_is_valid(const std::string& pattern) {
  return pattern_problem(pattern).empty();
}

/// Does `text` have it somewhere, as JSON Schema reads `pattern`? A text beyond kMaxMatchedBytes
/// does not. Linear in the text. REQUIRES: pattern_is_valid(pattern).
bool pattern_matches(const std::string& pattern, const std::string& text);

}  // namespace hyperhost
