// SPDX-License-Identifier: Apache-2.0
// Kernel command lines, where boot loaders keep them: grub.cfg, menu.lst, /etc/default/grub,
// grubenv, loader entries (systemd-boot, BLS), extlinux.conf, /etc/kernel/cmdline.
#ifndef HYPERHOST_GUESTFS_TEXT_BOOT_ARGS_HPP
#define HYPERHOST_GUESTFS_TEXT_BOOT_ARGS_HPP

#include "plugins/guest/guestfs/text/device_names.hpp"
#include "plugins/guest/guestfs/text/edit.hpp"

namespace hyperhost::guestfs {

enum class BootFile {
  kMenu,      ///< grub.cfg, menu.lst, loader entries, extlinux.conf
  kDefaults,  ///< /etc/default/grub, a shell fragment
  kGrubEnv,   ///< 1024 bytes, padded with '#'
  kCmdline,   ///< the file is a command line
};

/// root=, resume= and their like that name a device of the old machine get its UUID. In kDefaults,
/// GRUB_DISABLE_LINUX_UUID=true is commented out, so that grub-mkconfig does not undo it.
Edit edit_boot_devices(std::string_view text, BootFile file, const DeviceNames& names);

/// Adds a serial console beside the screen to every Linux entry that has none.
Edit add_serial_console(std::string_view text, BootFile file);

/// The options of a loader entry or the only Linux line of a menu; "" if there is none.
std::string first_command_line(std::string_view text);

/// The value of a parameter, the last one if there are several: "root" → "/dev/sda1".
std::string boot_arg(std::string_view command_line, std::string_view name);

}  // namespace hyperhost::guestfs

#endif
