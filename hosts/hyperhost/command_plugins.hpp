// SPDX-License-Identifier: Apache-2.0
// The subcommands of `hyperhost plugins` that have a file of their own.
#pragma once

#include "hosts/hyperhost/context.hpp"

namespace hyperhost {

/// `plugins` is the command they belong to.
void add_plugin_check_command(CLI::App& plugins, Context& context, int& status);
void add_plugin_new_command(CLI::App& plugins, Context& context, int& status);

}  // namespace hyperhost
