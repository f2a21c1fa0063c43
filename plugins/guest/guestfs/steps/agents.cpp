// SPDX-License-Identifier: Apache-2.0
#include <hyper/error.hpp>

#include "plugins/guest/guestfs/steps/steps.hpp"

namespace hyperhost::guestfs {
namespace {

/// Debian's packages that belong to VMware's agent, as dpkg's database has them.
std::vector<std::string> debian_packages(GuestFiles& files) {
  std::vector<std::string> out;
  for (const char* package :
       {"open-vm-tools-desktop", "open-vm-tools-salt-minion", "open-vm-tools-sdmp",
        "open-vm-tools-containerinfo", "open-vm-tools-dkms", "open-vm-tools"})
    if (files.is_file(std::string("/var/lib/dpkg/info/") + package + ".list") &&
        files.is_file(std::string("/var/lib/dpkg/info/") + package + ".md5sums"))
      out.emplace_back(package);
  return out;
}

bool has_rpm(GuestFiles& files) {
  return files.is_directory("/var/lib/rpm") || files.is_directory("/usr/lib/sysimage/rpm");
}

}  // namespace

void remove_vmware_tools(Bench& bench) {
  GuestFiles& files = bench.files();
  std::vector<std::string> command, packages = debian_packages(files);
  if (!packages.empty()) {
    command = {"dpkg", "--remove"};
  } else if (has_rpm(files) && files.is_file("/usr/bin/vmtoolsd")) {
    command = {"rpm", "-e"};
    packages = {"open-vm-tools"};
  } else {
    if (files.is_file("/usr/bin/vmware-uninstall-tools.pl"))
      bench.found({Finding::Severity::kNote, "vmware.tools",
                   "VMware's own tools are installed; they do nothing on another machine",
                   "/usr/bin/vmware-uninstall-tools.pl", "Run it in the guest to remove them."});
    return;
  }
  if (!bench.writes()) {
    bench.found({Finding::Severity::kNote,
                 "vmware.tools",
                 "VMware's agent is installed",
                 packages.back(),
                 {},
                 true});
    return;
  }
  command.insert(command.end(), packages.begin(), packages.end());
  try {
    files.run(command);
    bench.did({"vmware.tools", "VMware's agent is removed", {}, packages.back(), {}});
  } catch (const hyper::Error& error) {
    // The agent does nothing without VMware below it: no reason to give the guest up.
    bench.found({Finding::Severity::kWarning, "vmware.tools", "VMware's agent could not be removed",
                 error.what(), "Remove open-vm-tools in the guest."});
  }
}

void relabel(Bench& bench) {
  if (bench.changed_files().empty() || !bench.writes()) return;
  for (const std::string& line : lines_of(bench.files().read("/etc/selinux/config").value_or(""))) {
    const std::string text = trimmed(line);
    if (text != "SELINUX=enforcing" && text != "SELINUX=permissive") continue;
    bench.put("/.autorelabel", "-F\n", "linux.selinux",
              "SELinux labels the files at the next boot");
    return;
  }
}

}  // namespace hyperhost::guestfs
