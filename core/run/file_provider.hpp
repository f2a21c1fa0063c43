// SPDX-License-Identifier: Apache-2.0
// One disk image as a provider: a VM that has this one disk. So that converting a file goes through
// the stages that a VM of any provider goes through. Part of the process, never loaded. Any thread.
#pragma once

#include <string>

#include "core/plugin/registry.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

/// A choice for OrchestratorConfig::providers. format: as open_file_source takes it. Adds the
/// plugin to the registry where it is missing.
PluginChoice file_provider(PluginRegistry& registry, const std::string& path,
                           const std::string& format);

/// What VMs of it are asked for by.
constexpr const char* kFileVm = "file";

}  // namespace hyperhost
