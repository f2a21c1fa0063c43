// SPDX-License-Identifier: Apache-2.0
// The plugin "guestfs": hyper.guest by libguestfs.
#include <hyper/plugin.hpp>

#include "plugins/guest/guestfs/guest_plugin.hpp"

namespace {

struct Guestfs {
  using Interfaces = hyper::Interfaces<hyper::Guest<hyperhost::guestfs::GuestPlugin>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Guestfs)
