// SPDX-License-Identifier: Apache-2.0
// A TCP port of this machine alone. Stateless: any thread.
#pragma once

#include <cstdint>

#include "core/os/fd.hpp"

namespace hyperhost {

/// Listens on 127.0.0.1. port: 0 = any; the one that it is afterwards. Any user of this machine can
/// connect, or of this process's network, where it has one of its own. Throws Error.
Fd listen_on_loopback(uint16_t& port);

}  // namespace hyperhost
