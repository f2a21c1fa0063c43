// SPDX-License-Identifier: Apache-2.0
// What a worker process gives up before it loads a plugin's code: new privileges, core dumps,
// device nodes, and system calls that no plugin has a use for. Once, in the worker, one thread.
#pragma once

#include <string>

namespace hyperhost::isolation {

/// As much as this kernel knows; what it does not is left out. Returns what was done, for the log:
/// "no new privileges, seccomp, landlock".
std::string drop_privileges();

}  // namespace hyperhost::isolation
