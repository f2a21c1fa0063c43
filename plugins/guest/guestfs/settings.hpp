// SPDX-License-Identifier: Apache-2.0
// The plugin's options (manifest.json) as values. Immutable once read.
#ifndef HYPERHOST_GUESTFS_SETTINGS_HPP
#define HYPERHOST_GUESTFS_SETTINGS_HPP

#include <hyper/op.hpp>
#include <map>
#include <string>

namespace hyperhost::guestfs {

struct Settings {
  std::string accel = "auto";  ///< "auto", "kvm", "tcg"
  int memory_mib = 1280;       ///< of the appliance
  int cpus = 1;
  int timeout_s = 1800;  ///< of one call
  bool remove_vmware_tools = true;
  bool serial_console = false;
  bool discard_hibernation = false;
  std::map<std::string, std::string> keys;  ///< UUID, device or "all" → passphrase
  std::string root;                         ///< the system to take of several; "" = the first
};

Settings read_settings(const hyper::Doc& options);

}  // namespace hyperhost::guestfs

#endif
