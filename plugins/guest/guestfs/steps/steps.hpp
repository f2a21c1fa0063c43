// SPDX-License-Identifier: Apache-2.0
// The steps of a preparation, in their order. Each looks first, changes only what keeps the guest
// from running on the new machine, and does nothing the second time. With a bench that does not
// write, each only reports.
#ifndef HYPERHOST_GUESTFS_STEPS_HPP
#define HYPERHOST_GUESTFS_STEPS_HPP

#include <string>
#include <vector>

#include "plugins/guest/guestfs/bench.hpp"
#include "plugins/guest/guestfs/text/boot_args.hpp"
#include "plugins/guest/guestfs/text/device_names.hpp"

namespace hyperhost::guestfs {

/// A file that holds kernel command lines.
struct BootPath {
  std::string path;
  BootFile kind;
};
/// Those that the guest has. esp: where the EFI system partition is mounted; "" = nowhere.
std::vector<BootPath> boot_files(GuestFiles& files, const std::string& esp);

/// fstab, crypttab and command lines. Returns whether an initramfs must be made again because it
/// holds a copy of one of them.
bool fix_device_names(Bench& bench, DeviceNames& names, const std::string& esp);

void add_serial_console(Bench& bench, const std::string& esp);

/// Keeps the adapters' names by their MAC addresses, as far as the configuration uses names. macs:
/// of the VM's adapters, in the source's order.
void keep_nic_names(Bench& bench, const std::vector<std::string>& macs);

struct Kernel {
  std::string version, initramfs;  ///< the path of its image
};
/// The kernels that the guest can boot.
std::vector<Kernel> kernels_of(GuestFiles& files);

/// What a machine of that bus needs before the root file system: "virtio" → virtio_pci, virtio_blk.
std::vector<std::string> modules_for(const std::string& bus);

/// Makes every kernel's initramfs contain the modules, and looks into the result. Returns whether
/// at least one kernel has all of them. again: make them also where nothing is missing. Copies on
/// the ESP that loader entries name follow.
bool fix_initramfs(Bench& bench, const std::vector<std::string>& modules, bool again,
                   const std::string& esp);

/// Copies the guest's own loader to the place where firmware without boot entries looks.
void add_fallback_loader(Bench& bench, const std::string& esp, const std::string& distro);

/// Removes the packages of VMware's agent.
void remove_vmware_tools(Bench& bench);

/// Has SELinux label what was changed, at the next boot.
void relabel(Bench& bench);

}  // namespace hyperhost::guestfs

#endif
