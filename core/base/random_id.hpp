// SPDX-License-Identifier: Apache-2.0
// Identifiers that cannot be guessed and do not repeat. Thread-safe.
#pragma once

#include <string>

namespace hyperhost {

/// An RFC 4122 UUID, version 4. Throws Error when the system has no random bytes.
std::string random_id();

}  // namespace hyperhost
