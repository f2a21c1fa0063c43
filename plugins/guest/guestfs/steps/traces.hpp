// SPDX-License-Identifier: Apache-2.0
// What a Linux guest recorded of its boots, from its files. Reads only. One thread.
#ifndef HYPERHOST_GUESTFS_TRACES_HPP
#define HYPERHOST_GUESTFS_TRACES_HPP

#include <string>
#include <vector>

#include "plugins/guest/guestfs/guest_files.hpp"

namespace hyperhost::guestfs {

struct BootTrace {
  std::string id;        ///< of the boot and of what records it
  std::string evidence;  ///< for people
};

struct Traces {
  std::vector<BootTrace> boots;    ///< of each record, oldest first
  std::vector<std::string> notes;  ///< what else the last boot left
};

Traces read_traces(GuestFiles& files);

}  // namespace hyperhost::guestfs

#endif
