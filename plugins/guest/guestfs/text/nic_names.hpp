// SPDX-License-Identifier: Apache-2.0
// The names that a guest's network configuration calls its adapters by, and files that keep those
// names on another machine: udev gives an adapter its name by its MAC address.
#ifndef HYPERHOST_GUESTFS_TEXT_NIC_NAMES_HPP
#define HYPERHOST_GUESTFS_TEXT_NIC_NAMES_HPP

#include <string>
#include <string_view>
#include <vector>

namespace hyperhost::guestfs {

/// An adapter as a configuration names it.
struct NicUse {
  std::string name;  ///< "ens192"; "" if the configuration finds it by its MAC alone
  std::string mac;   ///< lower case; "" if the configuration does not say it
};

std::vector<NicUse> ifupdown_nics(std::string_view interfaces);
std::vector<NicUse> netplan_nics(std::string_view yaml);
std::vector<NicUse> network_manager_nics(std::string_view keyfile);
std::vector<NicUse> networkd_nics(std::string_view network);
/// file: the name of the file, "ifcfg-eth0", which says the adapter if DEVICE does not.
std::vector<NicUse> ifcfg_nics(std::string_view text, std::string_view file);

/// An adapter's name and address that belong together.
struct NicName {
  std::string name, mac;
};

struct NicPlan {
  std::vector<NicName> names;
  std::vector<std::string> unknown;  ///< names whose adapter is not known
};

/// Whether a name can be an adapter's. Names of bridges, bonds, VLANs and tunnels are not.
bool adapter_name(std::string_view name);
/// Lower case with colons; "" if the text is no MAC address.
std::string mac_of(std::string_view text);

/// Finds the adapter of each name. macs: of the VM's adapters, in the source's order. A name
/// without a MAC gets the adapter at its place in the order of VMware's slots (ens160, ens192,
/// ens224, ens256, ens161 …) or of numbers (eth0, eth1 …), if there are as many names as adapters.
NicPlan plan_nics(const std::vector<NicUse>& uses, const std::vector<std::string>& macs);

/// A systemd.link file, and a rule of older udev.
std::string link_file(const NicName& nic);
std::string udev_rule(const NicName& nic);

}  // namespace hyperhost::guestfs

#endif
