// SPDX-License-Identifier: Apache-2.0
// From an upload's destination to its storage: which plugin takes it, and which of the plugin's
// options the parts of the URL become. Part of bind_plan; stateless: any thread.
#pragma once

#include "core/plan/plan.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost {

/// Completes `storage`, which is upload.storage or a copy: the plugin where the plan names none,
/// and the options that the destination's parts become. Throws Error with the place in the plan:
/// no plugin or several claim the scheme, the plugin does not take it, a part of the URL has no
/// option, or the plan gives that option another value.
void place_storage(const UploadSpec& upload, const PluginRegistry& registry, PluginSpec& storage);

}  // namespace hyperhost
