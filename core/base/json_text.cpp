// SPDX-License-Identifier: Apache-2.0
#include "core/base/json_text.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost {

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace hyperhost
