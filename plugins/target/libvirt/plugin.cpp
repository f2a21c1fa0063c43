// SPDX-License-Identifier: Apache-2.0
// The plugin "libvirt": hyper.target/draft-1 through libvirt's C API.
#include <hyper/plugin.hpp>

#include "plugins/target/libvirt/libvirt_target.hpp"

namespace {
struct LibvirtPlugin {
  using Interfaces = hyper::Interfaces<hyper::Target<hyperhost::libvirt_target::LibvirtTarget>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(LibvirtPlugin)
