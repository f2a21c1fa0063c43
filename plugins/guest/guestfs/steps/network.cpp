// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "plugins/guest/guestfs/steps/steps.hpp"
#include "plugins/guest/guestfs/text/nic_names.hpp"

namespace hyperhost::guestfs {
namespace {

/// Every adapter that a configuration names, and the files that were read for it.
std::vector<NicUse> uses_of(GuestFiles& files) {
  std::vector<NicUse> uses;
  const auto take = [&](std::vector<NicUse> more) {
    uses.insert(uses.end(), more.begin(), more.end());
  };
  const auto each = [&](const std::string& directory, const std::string& end, auto&& reader) {
    for (const std::string& name : files.list(directory))
      if (ends_in(name, end)) take(reader(files.read(directory + "/" + name).value_or(""), name));
  };
  take(ifupdown_nics(files.read("/etc/network/interfaces").value_or("")));
  each("/etc/network/interfaces.d", "",
       [](const std::string& text, const std::string&) { return ifupdown_nics(text); });
  each("/etc/netplan", ".yaml",
       [](const std::string& text, const std::string&) { return netplan_nics(text); });
  for (const char* end : {".nmconnection", ""})
    each("/etc/NetworkManager/system-connections", end,
         [](const std::string& text, const std::string&) { return network_manager_nics(text); });
  each("/etc/systemd/network", ".network",
       [](const std::string& text, const std::string&) { return networkd_nics(text); });
  for (const char* directory : {"/etc/sysconfig/network-scripts", "/etc/sysconfig/network"})
    for (const std::string& name : files.list(directory))
      if (name.compare(0, 6, "ifcfg-") == 0)
        take(ifcfg_nics(files.read(std::string(directory) + "/" + name).value_or(""), name));
  return uses;
}

/// Names that the guest's own rules give by MAC already.
bool pinned(GuestFiles& files, const NicName& nic) {
  const std::string rules = files.read("/etc/udev/rules.d/70-persistent-net.rules").value_or("");
  for (const std::string& line : lines_of(rules))
    if (line.front() != '#' && line.find(nic.mac) != std::string::npos &&
        line.find("NAME=\"" + nic.name + "\"") != std::string::npos)
      return true;
  for (const std::string& name : files.list("/etc/systemd/network")) {
    if (!ends_in(name, ".link")) continue;
    const std::string link = files.read("/etc/systemd/network/" + name).value_or("");
    if (link.find(nic.mac) != std::string::npos &&
        link.find("Name=" + nic.name) != std::string::npos)
      return true;
  }
  return false;
}

}  // namespace

void keep_nic_names(Bench& bench, const std::vector<std::string>& macs) {
  GuestFiles& files = bench.files();
  const NicPlan plan = plan_nics(uses_of(files), macs);
  for (const std::string& name : plan.unknown)
    bench.found({Finding::Severity::kWarning, "linux.nic-name",
                 "The network configuration names an adapter whose MAC address is not known", name,
                 "Give the adapter's MAC address in the guest's configuration."});
  const bool links =
      files.is_directory("/usr/lib/systemd/network") || files.is_directory("/lib/systemd/network");
  for (const NicName& nic : plan.names) {
    if (pinned(files, nic)) continue;
    const std::string what = "The adapter " + nic.mac + " keeps the name " + nic.name;
    if (links) {
      bench.put("/etc/systemd/network/10-hyperhost-" + nic.name + ".link", link_file(nic),
                "linux.nic-name", what);
      continue;
    }
    const std::string path = "/etc/udev/rules.d/70-persistent-net.rules";
    bench.put(path, files.read(path).value_or("") + udev_rule(nic), "linux.nic-name", what);
  }
}

}  // namespace hyperhost::guestfs
