// SPDX-License-Identifier: Apache-2.0
// The host as a plugin in a worker sees it: logs, reports, progress, the journal and the limits are
// asked of the host, buffers lie in memory that the host sees too.
#pragma once

#include <hyper/host.h>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

/// Once a process. `peer` is never ended.
const hyper_host* worker_host(Peer& peer);

}  // namespace hyperhost::isolation
