// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/handle_calls.hpp"

namespace hyperhost {

std::string label(const Plugin& plugin, const char* call) {
  return "plugin '" + plugin.id() + "': " + call + "()";
}

bool undone(const Plugin& plugin, Undo undo, void* connection, Operation& op,
            const nlohmann::json& entry) {
  if (undo == nullptr) return false;
  const auto lock = plugin.enter();
  const hyper_doc doc{entry};
  const hyper_st status = undo(connection, &op, 0, &doc);
  if (status == HYPER_UNSUPPORTED) return false;
  op.check(status, label(plugin, "undo"));
  return true;
}

}  // namespace hyperhost
