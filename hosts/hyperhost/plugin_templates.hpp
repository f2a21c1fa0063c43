// SPDX-License-Identifier: Apache-2.0
// The files of sdk/templates, compiled in: projects of a plugin called "acme", of class "Acme".
#pragma once

#include <string_view>
#include <vector>

namespace hyperhost {

struct PluginTemplate {
  std::string_view path;  ///< "provider/src/plugin.cpp"
  std::string_view text;
};

const std::vector<PluginTemplate>& plugin_templates();

}  // namespace hyperhost
