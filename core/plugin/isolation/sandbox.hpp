// SPDX-License-Identifier: Apache-2.0
// Drops rights of a worker process before it loads a plugin's code: new privileges, core dumps,
// device nodes, and system calls that no plugin needs. Call it once, in the worker, while it has
// one thread.
#pragma once

#include <cstdint>
#include <string>

namespace hyperhost::isolation {

/// Drops each right that this kernel can drop and skips the others. Returns the mechanisms in use,
/// for the log: "no new privileges, landlock, seccomp".
std::string drop_privileges();

/// Bounds the memory that this process may allocate or reserve for itself: heap, private mappings,
/// thread stacks (RLIMIT_DATA). What it shares with the host does not count. An allocation beyond
/// it fails. 0, or a sanitizer's build, whose bookkeeping needs terabytes of addresses: no limit.
void limit_memory(uint64_t bytes);

}  // namespace hyperhost::isolation
