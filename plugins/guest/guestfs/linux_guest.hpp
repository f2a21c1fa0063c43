// SPDX-License-Identifier: Apache-2.0
// A Linux guest within the appliance: found, unlocked and mounted as it mounts itself. One thread.
#ifndef HYPERHOST_GUESTFS_LINUX_GUEST_HPP
#define HYPERHOST_GUESTFS_LINUX_GUEST_HPP

#include <map>
#include <string>
#include <vector>

#include "plugins/guest/guestfs/appliance.hpp"
#include "plugins/guest/guestfs/bench.hpp"
#include "plugins/guest/guestfs/text/device_names.hpp"

namespace hyperhost::guestfs {

class LinuxGuest {
 public:
  /// Throws HYPER_UNSUPPORTED if there is no Linux.
  LinuxGuest(Appliance& appliance, const Settings& settings);

  /// Mounts it for writing. discard_hibernation: see Settings; without it a saved state becomes a
  /// finding of the bench, or an exception where the bench writes.
  void mount(Bench& bench, bool discard_hibernation);

  DeviceNames& names() { return names_; }
  const std::string& esp() const { return esp_; }
  /// "bios", "uefi" or "unknown", by what the disks hold.
  std::string firmware() const;
  /// The disk that the firmware starts.
  unsigned boot_disk() const { return boot_disk_; }
  /// Of an ext root file system: its journal held changes when it was mounted.
  bool needs_recovery() const { return needs_recovery_; }
  const std::string& root() const { return root_; }
  const std::string& distro() const { return distro_; }
  const std::string& version() const { return version_; }
  const std::string& arch() const { return arch_; }
  const std::map<std::string, std::string>& mounts() const { return mounts_; }  ///< place → device

 private:
  void unlock(const std::map<std::string, std::string>& keys);
  void find_devices();
  void find_root(const std::string& wanted);
  void find_firmware();
  void check_hibernation(Bench& bench, bool discard);
  void mount_others(Bench& bench);
  void mount_esp();
  std::string node_of(const std::string& name);
  std::string blkid(const std::string& device, const char* key);

  Appliance& appliance_;
  DeviceNames names_{{}, 0};
  std::vector<std::string> suspended_;  ///< swap with a saved state
  std::string esp_, esp_node_, root_, distro_, version_, arch_;
  bool mbr_code_ = false, needs_recovery_ = false;
  unsigned boot_disk_ = 0, disks_ = 0;
  std::map<std::string, std::string> mounts_;
};

}  // namespace hyperhost::guestfs

#endif
