// SPDX-License-Identifier: Apache-2.0
// The host's side of a plugin in a process of its own: the same tables, whose functions call a
// worker. If a worker crashes, hangs or is killed, the calls in it fail, with the cause and the
// worker's last lines. The next connection gets a new worker. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin/isolation/confinement.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {

/// What one worker gets.
struct WorkerSettings {
  uint64_t memory = 0;                   ///< limit_memory() of sandbox.hpp; 0 = none
  std::vector<std::string> environment;  ///< child_environment() of os/child_process.hpp
  Confinement confinement;
};

/// As Plugin::load, but the plugin's code runs in another process. Throws Error.
std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id,
                                      WorkerSettings settings = {});

}  // namespace hyperhost::isolation
