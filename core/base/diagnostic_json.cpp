// SPDX-License-Identifier: Apache-2.0
#include "core/base/diagnostic_json.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost {

nlohmann::json diagnostic_json(const Diagnostic& diagnostic) {
  nlohmann::json out = {{"severity", severity_name(diagnostic.severity)},
                        {"code", code_name(diagnostic.code)},
                        {"summary", diagnostic.summary},
                        {"retryable", diagnostic.retryable}};
  const std::pair<const char*, const std::string*> texts[] = {{"detail", &diagnostic.detail},
                                                              {"hint", &diagnostic.hint},
                                                              {"rule", &diagnostic.rule},
                                                              {"path", &diagnostic.path},
                                                              {"where", &diagnostic.where}};
  for (const auto& [key, text] : texts)
    if (!text->empty()) out[key] = *text;
  if (diagnostic.native_code != 0) out["native_code"] = diagnostic.native_code;
  if (diagnostic.retry_after.count() != 0)
    out["retry_after_ms"] =
        std::chrono::ceil<std::chrono::milliseconds>(diagnostic.retry_after).count();
  return out;
}

}  // namespace hyperhost
