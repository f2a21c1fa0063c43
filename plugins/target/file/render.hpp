// SPDX-License-Identifier: Apache-2.0
// One file for each platform. All texts of the VM are escaped. Stateless.
#ifndef HYPERHOST_FILE_TARGET_RENDER_HPP
#define HYPERHOST_FILE_TARGET_RENDER_HPP

#include <string>
#include <vector>

#include "plugins/target/file/machine.hpp"

namespace hyperhost::file_target {

struct Rendered {
  std::string name, content_type, text;
};

/// What a libvirt has that is known.
struct LibvirtHost {
  std::string type = "kvm";  ///< "qemu": it emulates
};
/// A libvirt domain, for `virsh define`. Throws hyper::Error (HYPER_UNSUPPORTED), as the others do,
/// where the platform takes no such disks.
Rendered libvirt_domain(const Machine& machine, const LibvirtHost& host = {});
/// The name as libvirt takes it.
std::string domain_name(std::string name);
/// A VirtualMachine with its DataVolumes, for `kubectl create`. import_url: as the option.
Rendered kubevirt_machine(const Machine& machine, const std::string& import_url);
/// A script of `qm` commands, for a Proxmox VE node.
Rendered proxmox_script(const Machine& machine);
/// A script of `openstack` commands: images with their properties, volumes, ports, the server.
Rendered openstack_script(const Machine& machine);

}  // namespace hyperhost::file_target

#endif
