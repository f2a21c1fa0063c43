// SPDX-License-Identifier: Apache-2.0
// SHA-256 of a text. Stateless; any thread.
#pragma once

#include <string>

namespace hyperhost {

/// 64 hexadecimal digits.
std::string sha256_of(const std::string& text);

}  // namespace hyperhost
