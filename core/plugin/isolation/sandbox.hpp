// SPDX-License-Identifier: Apache-2.0
// Drops rights of a worker process before it loads a plugin's code: new privileges, core dumps,
// device nodes, and system calls that no plugin needs. Call it once, in the worker, while it has
// one thread.
#pragma once

#include <string>

namespace hyperhost::isolation {

/// Drops each right that this kernel can drop and skips the others. Returns the mechanisms in use,
/// for the log: "no new privileges, landlock, seccomp".
std::string drop_privileges();

}  // namespace hyperhost::isolation
