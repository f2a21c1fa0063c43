// SPDX-License-Identifier: Apache-2.0
// How much a VM is sure to take below its output_dir. Stateless: any thread.
#pragma once

#include "core/vm/route.hpp"

namespace hyperhost {

/// On top of what an earlier run has written. Zstd and zlib may make anything of a disk: none of it
/// is sure.
uint64_t least_bytes(const MigrationConfig& job, const VmRoute& route);

}  // namespace hyperhost
