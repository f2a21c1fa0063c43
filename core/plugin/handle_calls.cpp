// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/handle_calls.hpp"

namespace hyperhost {

std::string label(const Plugin& plugin, const char* call) {
  return "plugin '" + plugin.id() + "': " + call + "()";
}

}  // namespace hyperhost
