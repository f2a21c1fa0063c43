// SPDX-License-Identifier: Apache-2.0
// Text as bytes: UTF-8 and hexadecimal. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hyperhost {

/// The offset of the first byte that is not valid UTF-8 (RFC 3629: no surrogates, no overlong
/// forms); npos if the whole text is valid.
size_t find_invalid_utf8(std::string_view text);

/// Two lower-case digits a byte.
std::string to_hex(std::string_view bytes);

}  // namespace hyperhost
