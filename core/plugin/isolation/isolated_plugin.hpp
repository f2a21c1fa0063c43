// SPDX-License-Identifier: Apache-2.0
// A plugin in a process of its own, as the host sees it: the same tables, whose functions ask a
// worker. A worker that crashes, hangs or is killed fails the calls it was in, with what it died of
// and its last lines; the next connection gets a fresh one. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {

/// What one worker gets.
struct WorkerSettings {
  uint64_t memory = 0;                   ///< limit_memory() of sandbox.hpp; 0 = none
  std::vector<std::string> environment;  ///< child_environment() of os/child_process.hpp
};

/// As Plugin::load, but its code runs in another process. Throws Error.
std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id,
                                      WorkerSettings settings = {});

}  // namespace hyperhost::isolation
