// SPDX-License-Identifier: Apache-2.0
// Text that goes to a terminal: what a provider, a plugin or a file named must neither move the
// cursor nor change its colours, and columns are counted as a terminal counts them. Any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hyperhost {

/// Valid UTF-8 without control characters: each of those, and each byte that is no UTF-8, becomes
/// '?'. Newlines stay where `keep_newlines`, tabs become blanks.
std::string printable(std::string_view text, bool keep_newlines = false);

/// Columns `text` takes on a terminal. REQUIRES: printable text.
std::size_t display_width(std::string_view text);

/// Exactly `width` columns: cut with '~' as its last one, or filled with blanks on the right.
std::string fitted(std::string_view text, std::size_t width);
/// Filled with blanks on the left; longer text stays as it is.
std::string right_aligned(const std::string& text, std::size_t width);

/// May colours be used on `fd`? A terminal that is not "dumb", and no NO_COLOR.
bool wants_colour(int fd);
/// Does the environment say that characters beyond ASCII are shown?
bool shows_unicode();

}  // namespace hyperhost
