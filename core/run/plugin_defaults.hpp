// SPDX-License-Identifier: Apache-2.0
// What a caller that names a plugin and nothing else leaves out: a program that uses the library, a
// host that runs without a plan. Any thread.
#pragma once

#include <string>

#include "core/config/config_value.hpp"
#include "core/plugin/registry.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

/// The plugin with its default options, over which `given` stands. Throws Error where there is no
/// such plugin, or where it needs an option that `given` does not have.
PluginChoice default_choice(PluginRegistry& registry, const std::string& plugin,
                            const ConfigValue& given = ConfigValue::mapping());

/// The converter of a migration that names none.
PluginChoice default_converter(PluginRegistry& registry);

/// The storage of an upload that names none: the plugin that takes the destination's scheme, with
/// the destination's parts and what the environment sets. Throws Error as place_storage does.
PluginChoice default_storage(PluginRegistry& registry, const std::string& destination);

/// Of target_format and convert_options.output_format the one that was set. Throws Error where both
/// were, and differ.
std::string target_format_of(const MigrationConfig& config);

/// Those texts among the plugin's options that the environment sets: option `ca_file` of plugin
/// local-ovf is HYPERHOST_LOCAL_OVF_CA_FILE. Secrets become references to the variable.
ConfigValue environment_options(const PluginRegistry& registry, const std::string& plugin);

}  // namespace hyperhost
