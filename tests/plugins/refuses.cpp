// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <hyper/plugin.hpp>

extern "C" HYPER_EXPORT const hyper_plugin* hyper_plugin_entry_v1(
    const hyper_hello* hello) noexcept {
  std::snprintf(hello->refusal, hello->refusal_cap, "the moon is not full");
  return nullptr;
}
