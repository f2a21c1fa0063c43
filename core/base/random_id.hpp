// SPDX-License-Identifier: Apache-2.0
// Identifiers that cannot be guessed and do not repeat. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace hyperhost {

/// An RFC 4122 UUID, version 4. Throws Error when the system has no random bytes.
std::string random_id();

/// A number that cannot be foreseen, for a sample. Throws as random_id().
uint64_t random_seed();

}  // namespace hyperhost
