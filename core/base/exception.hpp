// SPDX-License-Identifier: Apache-2.0
// What an unexpected exception means to a user. Stateless: any thread.
#pragma once

#include <exception>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

/// An Error is itself. What the system refuses (threads, memory) has words and a hint of its own.
/// Anything else is a fault of the program: kFail, "internal error".
Error error_of(const std::exception& failure);

}  // namespace hyperhost
