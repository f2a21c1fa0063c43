// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "plugins/target/file/render.hpp"
#include "plugins/target/file/text.hpp"

namespace hyperhost::file_target {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

uint64_t whole_gib(const Disk& disk) {
  return std::max<uint64_t>(1, (disk.virtual_size + kGiB - 1) / kGiB);
}

/// What decides about the machine that Nova builds. The image keeps them, and so does a volume that
/// is made of it.
std::vector<std::pair<std::string, std::string>> properties(const Machine& machine,
                                                            const Disk& disk) {
  std::vector<std::pair<std::string, std::string>> out = {
      {"hw_disk_bus", disk.bus},
      {"hw_machine_type", machine.type},
      {"hw_firmware_type", machine.uefi ? "uefi" : "bios"},
      {"hw_cpu_sockets", std::to_string(machine.sockets)},
      {"hw_cpu_cores", std::to_string(machine.cores)},
      {"hw_cpu_threads", std::to_string(machine.threads)},
      {"hw_qemu_guest_agent", machine.agent ? "yes" : "no"},
      {"hw_rng_model", "virtio"},
      {"hw_video_model", "vga"}};
  if (disk.bus == "scsi") out.emplace_back("hw_scsi_model", "virtio-scsi");
  if (!machine.nics.empty()) out.emplace_back("hw_vif_model", machine.nics.front().model);
  if (machine.secure_boot) out.emplace_back("os_secure_boot", "required");
  if (machine.tpm) {
    out.emplace_back("hw_tpm_model", "tpm-crb");
    out.emplace_back("hw_tpm_version", "2.0");
  }
  if (machine.family != "unknown") out.emplace_back("os_type", machine.family);
  if (!machine.distro.empty()) out.emplace_back("os_distro", machine.distro);
  out.emplace_back("hyperhost_mark", machine.mark);
  return out;
}

/// Creates the image of one disk; its id is in $image.
std::string image(const Machine& machine, const Disk& disk) {
  std::string out =
      "image=$(openstack image create -f value -c id --container-format bare \\\n"
      "  --disk-format " +
      shell(disk.format) + " --file \"$dir\"/" + shell(disk.file) + " \\\n  --min-disk " +
      std::to_string(whole_gib(disk));
  if (disk.boot) out += " --min-ram " + std::to_string(memory_mib(machine));
  for (const auto& [name, value] : properties(machine, disk))
    out += " \\\n  --property " + shell(name + "=" + value);
  return out + " \\\n  -- " + shell(machine.name + " " + disk.id) + ")\n";
}

}  // namespace

Rendered openstack_script(const Machine& machine) {
  const std::vector<std::size_t> order = boot_order(machine);
  std::string out =
      "#!/bin/sh\n"
      "# " +
      comment(machine.vm) +
      ", migrated by hyperhost. Where the disks lie beside this file, with the\n"
      "# OS_* variables of the project: sh openstack.sh FLAVOR [NETWORK]\n"
      "set -eu\n"
      "flavor=${1:?usage: sh openstack.sh FLAVOR [NETWORK]}\n"
      "network=${2:-}\n"
      "dir=$(cd \"$(dirname \"$0\")\" && pwd)\n"
      "set --\n";
  for (std::size_t i = 0; i < machine.disks.size(); ++i) {
    const Disk& disk = machine.disks[i];
    if (disk.format != "qcow2" && disk.format != "raw" && disk.format != "vmdk" &&
        disk.format != "vdi" && disk.format != "vhd" && disk.format != "vhdx")
      throw hyper::Error(HYPER_UNSUPPORTED, "Glance takes no disks of the format " + disk.format);
    out += image(machine, disk);
    out += "volume=$(openstack volume create -f value -c id --image \"$image\" --size " +
           std::to_string(whole_gib(disk)) +
           (disk.storage.empty() ? "" : " --type " + shell(disk.storage)) +
           (disk.boot ? " --bootable" : "") + " -- " + shell(machine.name + " " + disk.id) + ")\n";
    out +=
        "until [ \"$(openstack volume show -f value -c status \"$volume\")\" = available ]; do\n"
        "  [ \"$(openstack volume show -f value -c status \"$volume\")\" != error ] || exit 1\n"
        "  sleep 2\ndone\n";
    out +=
        "set -- \"$@\" --block-device "
        "\"uuid=$volume,source_type=volume,destination_type=volume,boot_index=" +
        std::to_string(order[i]) + "\"\n";
  }
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    out += "port=$(openstack port create -f value -c id --network " +
           (nic.network.empty()
                ? "\"${network:?name a network for " + dns_label(nic.source, 63) + "}\""
                : shell(nic.network)) +
           (nic.mac.empty() ? "" : " --mac-address " + nic.mac) + " " +
           shell(machine.name + " nic-" + std::to_string(i)) + ")\n";
    out += "set -- \"$@\" --nic \"port-id=$port\"\n";
  }
  if (machine.nics.empty()) out += "set -- \"$@\" --nic none\n";
  out += "openstack server create --flavor \"$flavor\" \"$@\" -- " + shell(machine.name) + "\n";
  return {"openstack.sh", "text/x-shellscript", out};
}

}  // namespace hyperhost::file_target
