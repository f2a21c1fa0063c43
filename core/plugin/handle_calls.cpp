// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/handle_calls.hpp"

#include "core/plugin/document_schema.hpp"

namespace hyperhost {

std::string label(const Plugin& plugin, const char* call) {
  return "plugin '" + plugin.id() + "': " + call + "()";
}

nlohmann::json understood(nlohmann::json answer, std::string_view document,
                          const std::string& what) {
  const std::string pointer = not_understood(document, answer);
  if (pointer.empty()) return answer;
  Diagnostic diagnostic;
  diagnostic.code = Code::kUnsupported;
  diagnostic.summary =
      what + " answers with a member that must be understood and is not known here";
  diagnostic.detail = pointer;
  diagnostic.hint = "update hyperhost, or use an older version of the plugin";
  diagnostic.path = pointer;
  throw Error(diagnostic);
}

}  // namespace hyperhost
