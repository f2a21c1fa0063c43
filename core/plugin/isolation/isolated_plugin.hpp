// SPDX-License-Identifier: Apache-2.0
// The host's side of a plugin in a process of its own: the same tables, whose functions call a
// worker. If a worker crashes, hangs or is killed, the calls in it fail, with the cause and the
// worker's last lines. The next connection gets a new worker. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {

/// As Plugin::load, but the plugin's code runs in another process. Throws Error.
std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id);

}  // namespace hyperhost::isolation
