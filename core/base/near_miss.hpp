// SPDX-License-Identifier: Apache-2.0
// What someone may have meant by a word that is not known. Stateless: any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hyperhost {

/// "did you mean 'format'?" for the nearest of `known`, by edits (a swap of neighbours is one,
/// case and -/_ are none) of at most a third of the word; else "known: a, b, c" while that stays
/// short; else empty.
std::string suggest(std::string_view word, const std::vector<std::string>& known);

}  // namespace hyperhost
