// SPDX-License-Identifier: Apache-2.0
// /etc/fstab and /etc/crypttab. Comments, blanks and all lines that need no change stay as they
// are.
#ifndef HYPERHOST_GUESTFS_TEXT_MOUNT_TABLES_HPP
#define HYPERHOST_GUESTFS_TEXT_MOUNT_TABLES_HPP

#include "plugins/guest/guestfs/text/device_names.hpp"
#include "plugins/guest/guestfs/text/edit.hpp"

namespace hyperhost::guestfs {

struct Mount {
  std::string device;  ///< as in the file, "\040" and the like resolved
  std::string place;   ///< "/boot"; "none" for swap
  std::string type, options;
};

/// The entries of an fstab. A line that is none is left out.
std::vector<Mount> mounts_of(std::string_view fstab);
/// The part of mount options behind "name="; "" if there is none.
std::string mount_option(const std::string& options, const std::string& name);

Edit edit_fstab(std::string_view text, const DeviceNames& names);
Edit edit_crypttab(std::string_view text, const DeviceNames& names);

}  // namespace hyperhost::guestfs

#endif
