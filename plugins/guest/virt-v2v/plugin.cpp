// SPDX-License-Identifier: Apache-2.0
// The plugin "virt-v2v": hyper.guest/draft-1 by the installed virt-v2v-in-place.
#include <hyper/plugin.hpp>

#include "plugins/guest/virt-v2v/v2v_plugin.hpp"

namespace {
struct VirtV2vPlugin {
  using Interfaces = hyper::Interfaces<hyper::Guest<hyperhost::virt_v2v::V2vPlugin>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(VirtV2vPlugin)
