// SPDX-License-Identifier: Apache-2.0
// What holds on this host whatever the plan: /etc/hyperhost/hyperhost.yaml, or the file that
// HYPERHOST_CONFIG names, and the drop-in files *.yaml of the directory beside it whose name ends
// in .d. A plan's own words come first. Stateless: any thread.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config_value.hpp"

namespace hyperhost {

struct HostConfig {
  std::string path;  ///< the file; empty where there is none
  std::vector<std::filesystem::path> plugin_dirs;
  std::string isolation = "auto";                    ///< auto, none, process
  std::map<std::string, std::string> isolation_of;   ///< by plugin id
  std::optional<uint64_t> worker_memory;             ///< most that a worker may allocate; 0 = any
  std::map<std::string, uint64_t> worker_memory_of;  ///< by plugin id
  std::string confine = "auto";                      ///< processes: auto, required, off
  std::map<std::string, std::string> confine_of;     ///< by plugin id
  std::string confined_user;                         ///< "" = the default
  /// {"converter": …, "storage": {SCHEME: …}}: for PlanOptions::host_defaults.
  ConfigValue defaults = ConfigValue::mapping();
};

/// Throws Error(kConfig) that names every mistake. No file is no mistake, unless HYPERHOST_CONFIG
/// names one.
HostConfig load_host_config();

/// Puts the host's converter and storages where the document names none.
void apply_host_defaults(ConfigValue& document, const ConfigValue& defaults);

/// The text of configs/hyperhost.schema.json this library was built with.
std::string_view host_schema_text();

}  // namespace hyperhost
