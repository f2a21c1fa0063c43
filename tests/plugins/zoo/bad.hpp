// SPDX-License-Identifier: Apache-2.0
// Which way of being bad this process asks for, by the variable HYPER_ZOO; none: a good plugin.
#pragma once

#include <cstdlib>
#include <cstring>

namespace zoo {

inline bool bad(const char* way) {
  const char* wanted = std::getenv("HYPER_ZOO");
  return wanted != nullptr && std::strcmp(wanted, way) == 0;
}

}  // namespace zoo
