// SPDX-License-Identifier: Apache-2.0
// A plugin in a process of its own, as the host sees it: the same tables, whose functions ask a
// worker. A worker that crashes, hangs or is killed fails the calls it was in, with what it died of
// and its last lines; the next connection gets a fresh one. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {

/// As Plugin::load, but its code runs in another process. Throws Error.
std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id);

}  // namespace hyperhost::isolation
