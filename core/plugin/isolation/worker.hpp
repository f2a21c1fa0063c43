// SPDX-License-Identifier: Apache-2.0
// The worker process: loads one plugin and serves the host's calls until the host is gone.
#pragma once

#include <string>

#include "core/plugin/isolation/confinement.hpp"

namespace hyperhost::isolation {

/// The worker's main. Descriptor 0 is the conversation. Returns the exit status.
int serve_plugin(const std::string& file, const std::string& id, const Confinement& confinement);

}  // namespace hyperhost::isolation
