// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "plugins/target/file/render.hpp"
#include "plugins/target/file/text.hpp"

namespace hyperhost::file_target {
namespace {

/// Disks of one bus that Proxmox VE takes.
std::size_t most_of(const std::string& bus) {
  return bus == "virtio" ? 16 : bus == "scsi" ? 31 : bus == "sata" ? 6 : 4;
}

std::string os_type(const Machine& machine) {
  if (machine.family == "linux") return "l26";
  if (machine.family != "windows") return "other";
  return machine.tpm || machine.secure_boot ? "win11" : "win10";
}

class Script {
 public:
  /// One argument: an option and its value, as words of the shell.
  void add(const std::string& option, const std::string& word) {
    text_ += " \\\n  --" + option + " " + word;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_ = "qm create \"$vmid\"";
};

/// Returns the boot order's value.
std::string add_disks(const Machine& machine, Script& out) {
  const std::vector<std::size_t> order = boot_order(machine);
  std::map<std::string, std::size_t> used;
  std::vector<std::string> names(machine.disks.size());
  for (std::size_t i = 0; i < machine.disks.size(); ++i) {
    const Disk& disk = machine.disks[i];
    if (disk.format != "qcow2" && disk.format != "raw" && disk.format != "vmdk")
      throw hyper::Error(HYPER_UNSUPPORTED,
                         "Proxmox VE imports no disks of the format " + disk.format);
    const std::size_t number = used[disk.bus]++;
    if (number >= most_of(disk.bus))
      throw hyper::Error(
          HYPER_UNSUPPORTED,
          "Proxmox VE takes " + std::to_string(most_of(disk.bus)) + " disks on " + disk.bus);
    const std::string slot = disk.bus + std::to_string(number);
    names[order[i]] = slot;
    const std::string storage = disk.storage.empty() ? "\"$storage\"" : shell(disk.storage);
    out.add(slot, storage + "':0,import-from='\"$dir\"/" + shell(disk.file));
  }
  std::string value;
  for (const std::string& name : names) value += (value.empty() ? "order=" : ";") + name;
  return value;
}

}  // namespace

Rendered proxmox_script(const Machine& machine) {
  Script out;
  out.add("name", shell(dns_label(machine.name, 63)));
  out.add("memory", std::to_string(memory_mib(machine)));
  out.add("sockets", std::to_string(machine.sockets));
  out.add("cores", std::to_string(machine.cores * machine.threads));
  out.add("cpu", shell(machine.cpu_model.empty() ? "host" : machine.cpu_model));
  out.add("ostype", os_type(machine));
  if (machine.type == "q35") out.add("machine", "q35");
  out.add("bios", machine.uefi ? "ovmf" : "seabios");
  if (machine.uefi)
    out.add("efidisk0", std::string("\"$storage\":1,efitype=4m,pre-enrolled-keys=") +
                            (machine.secure_boot ? "1" : "0"));
  if (machine.tpm) out.add("tpmstate0", "\"$storage\":1,version=v2.0");
  out.add("scsihw", "virtio-scsi-single");
  if (machine.agent) out.add("agent", "enabled=1");
  if (machine.local_time) out.add("localtime", "1");
  if (!machine.uuid.empty()) out.add("smbios1", shell("uuid=" + machine.uuid));
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    std::string value = nic.model;
    if (!nic.mac.empty()) value += "=" + nic.mac;
    const std::string bridge = nic.network.empty() ? "\"$bridge\"" : shell(nic.network);
    out.add("net" + std::to_string(i), shell(value + ",bridge=") + bridge);
  }
  out.add("description",
          shell("Migrated by hyperhost from " + machine.vm + " (" + machine.mark + ")"));
  const std::string boot = add_disks(machine, out);
  out.add("boot", shell(boot));
  const std::string head =
      "#!/bin/sh\n"
      "# " +
      comment(machine.vm) +
      ", migrated by hyperhost. As root on a Proxmox VE node (8.0 or later),\n"
      "# where the disks lie beside this file: sh proxmox.sh VMID [STORAGE [BRIDGE]]\n"
      "set -eu\n"
      "vmid=${1:?usage: sh proxmox.sh VMID [STORAGE [BRIDGE]]}\n"
      "storage=${2:-local-lvm}\n"
      "bridge=${3:-vmbr0}\n"
      "dir=$(cd \"$(dirname \"$0\")\" && pwd)\n";
  return {"proxmox.sh", "text/x-shellscript", head + out.text() + "\n"};
}

}  // namespace hyperhost::file_target
