// SPDX-License-Identifier: Apache-2.0
// Members of JSON objects that others wrote. Any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace hyperhost {

/// The member's text; "" where the object lacks it or it is no string. `object` is an object.
std::string text_of(const nlohmann::json& object, const char* key);

}  // namespace hyperhost
