// SPDX-License-Identifier: Apache-2.0
// What a worker process gives up before it loads a plugin's code: new privileges, core dumps,
// device nodes, and system calls that no plugin has a use for. Once, in the worker, one thread.
#pragma once

#include <cstdint>
#include <string>

namespace hyperhost::isolation {

/// As much as this kernel knows; what it does not is left out. Returns what was done, for the log:
/// "no new privileges, seccomp, landlock".
std::string drop_privileges();

/// Bounds the memory that this process may allocate or reserve for itself: heap, private mappings,
/// thread stacks (RLIMIT_DATA). What it shares with the host does not count. An allocation beyond
/// it fails. 0, or a sanitizer's build, whose bookkeeping needs terabytes of addresses: no limit.
void limit_memory(uint64_t bytes);

}  // namespace hyperhost::isolation
