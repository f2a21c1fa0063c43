// SPDX-License-Identifier: Apache-2.0
// The host's table for a plugin in a worker: logs, reports, progress, the journal and the limits
// are calls to the host process, and buffers lie in memory that the host process shares.
#pragma once

#include <hyper/host.h>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

/// Call it with one peer per process, which must never end.
const hyper_host* worker_host(Peer& peer);

}  // namespace hyperhost::isolation
