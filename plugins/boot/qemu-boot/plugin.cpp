// SPDX-License-Identifier: Apache-2.0
// The plugin "qemu-boot": hyper.boot/draft-1 by qemu-system-x86_64.
#include <hyper/plugin.hpp>

#include "plugins/boot/qemu-boot/qemu_boot.hpp"

namespace {
struct QemuBootPlugin {
  using Interfaces = hyper::Interfaces<hyper::Boot<hyperhost::qemu_boot::QemuBoot>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(QemuBootPlugin)
