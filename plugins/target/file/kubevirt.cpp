// SPDX-License-Identifier: Apache-2.0
// kubevirt.io/v1 VirtualMachine and cdi.kubevirt.io/v1beta1 DataVolumes.
#include <algorithm>

#include "plugins/target/file/render.hpp"
#include "plugins/target/file/text.hpp"

namespace hyperhost::file_target {
namespace {

constexpr std::size_t kMostName = 50;  // with "-disk-99": 63, a DNS label

std::string claim_of(const std::string& name, std::size_t disk) {
  return name + "-disk-" + std::to_string(disk);
}

/// s3://BUCKET/KEY of Amazon's own store, else "".
std::string bucket_url(const std::string& object) {
  const std::string kScheme = "s3://";
  if (object.rfind(kScheme, 0) != 0) return {};
  return "https://s3.amazonaws.com/" + object.substr(kScheme.size());
}

bool is_http(const std::string& url) {
  return url.rfind("https://", 0) == 0 || url.rfind("http://", 0) == 0;
}

/// A file system on the volume takes some of it.
uint64_t claim_bytes(const Disk& disk) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  const uint64_t whole = (disk.virtual_size + kMiB - 1) / kMiB * kMiB;
  return std::max(kMiB, whole);
}

std::string data_volume(const Machine& machine, std::size_t i, const std::string& name,
                        const std::string& import_url) {
  const Disk& disk = machine.disks[i];
  const std::string claim = claim_of(name, i);
  std::string url = is_http(disk.object) ? disk.object : bucket_url(disk.object);
  std::string kind = is_http(disk.object) || url.empty() ? "http" : "s3";
  if (!import_url.empty()) {
    url = import_url + (import_url.back() == '/' ? "" : "/") + disk.file;
    kind = "http";
  }
  std::string out =
      "apiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\nmetadata:\n  name: " + yaml(claim) +
      "\n  annotations:\n" +
      "    cdi.kubevirt.io/storage.bind.immediate.requested: \"true\"\nspec:\n";
  if (url.empty())
    out += "  # virtctl image-upload dv " + claim +
           " --no-create --image-path=" + comment(disk.path.empty() ? disk.file : disk.path) +
           "\n  source:\n    upload: {}\n";
  else
    out += "  source:\n    " + kind + ":\n      url: " + yaml(url) + "\n";
  out += "  storage:\n";
  if (!disk.storage.empty()) out += "    storageClassName: " + yaml(disk.storage) + "\n";
  out += "    resources:\n      requests:\n        storage: \"" +
         std::to_string(claim_bytes(disk)) + "\"\n---\n";
  return out;
}

std::string firmware(const Machine& machine) {
  std::string out = "        firmware:\n";
  if (!machine.uuid.empty()) out += "          uuid: " + yaml(machine.uuid) + "\n";
  if (!machine.uefi) return out + "          bootloader:\n            bios: {}\n";
  // KubeVirt takes secure boot for granted where nothing is said.
  return out + "          bootloader:\n            efi:\n              secureBoot: " +
         (machine.secure_boot ? "true" : "false") + "\n";
}

std::string features(const Machine& machine) {
  std::string out = "        features:\n          acpi: {}\n";
  if (machine.secure_boot) out += "          smm:\n            enabled: true\n";
  if (!machine.hyperv) return out;
  out += "          apic: {}\n          hyperv:\n";
  for (const char* name : {"relaxed", "vapic", "vpindex", "synic", "synictimer"})
    out += std::string("            ") + name + ": {}\n";
  return out + "            spinlocks:\n              spinlocks: 8191\n";
}

std::string clock(const Machine& machine) {
  if (!machine.hyperv && !machine.local_time) return "        clock:\n          utc: {}\n";
  std::string out = "        clock:\n          utc: {}\n          timer:\n";
  if (machine.hyperv) out += "            hyperv: {}\n";
  return out +
         "            hpet:\n              present: false\n"
         "            pit:\n              tickPolicy: delay\n"
         "            rtc:\n              tickPolicy: catchup\n";
}

/// Buses that KubeVirt has; ide is sata there.
std::string bus_of(const Disk& disk) {
  return disk.bus == "ide" ? "sata" : disk.bus;
}

std::string devices(const Machine& machine) {
  const std::vector<std::size_t> order = boot_order(machine);
  std::string out = "        devices:\n          disks:\n";
  for (std::size_t i = 0; i < machine.disks.size(); ++i)
    out += "            - name: disk-" + std::to_string(i) +
           "\n              bootOrder: " + std::to_string(order[i] + 1) +
           "\n              disk:\n                bus: " + bus_of(machine.disks[i]) + "\n";
  out += machine.nics.empty() ? "          interfaces: []\n" : "          interfaces:\n";
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    out += "            - name: nic-" + std::to_string(i) + "\n              " +
           (nic.network.empty() ? "masquerade" : "bridge") + ": {}\n";
    if (!nic.mac.empty()) out += "              macAddress: " + yaml(nic.mac) + "\n";
    out += "              model: " + (nic.model == "vmxnet3" ? "virtio" : nic.model) + "\n";
  }
  out += "          rng: {}\n";
  if (machine.tpm) out += "          tpm:\n            persistent: true\n";
  return out;
}

/// A named network is one of Multus; the pod's own network takes one card.
std::string networks(const Machine& machine) {
  std::string out;
  bool pod = false;
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    out += "        - name: nic-" + std::to_string(i) + "\n";
    if (!nic.network.empty()) {
      out += "          multus:\n            networkName: " + yaml(nic.network) + "\n";
      continue;
    }
    if (pod)
      throw hyper::Error(HYPER_UNSUPPORTED,
                         "KubeVirt's pod network takes one network card, and the plan names no "
                         "network for '" +
                             nic.source + "'");
    pod = true;
    out += "          pod: {}\n";
  }
  return out.empty() ? "" : "      networks:\n" + out;
}

}  // namespace

Rendered kubevirt_machine(const Machine& machine, const std::string& import_url) {
  const std::string name = dns_label(machine.name, kMostName);
  std::string out =
      "# " + comment(machine.vm) + ", migrated by hyperhost: kubectl create -f kubevirt.yaml\n";
  for (std::size_t i = 0; i < machine.disks.size(); ++i) {
    const std::string& format = machine.disks[i].format;
    if (format != "qcow2" && format != "raw" && format != "vmdk" && format != "vdi" &&
        format != "vhd" && format != "vhdx")
      throw hyper::Error(HYPER_UNSUPPORTED, "CDI takes no disks of the format " + format);
    out += data_volume(machine, i, name, import_url);
  }
  out += "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata:\n  name: " + yaml(name) +
         "\n  annotations:\n    hyperhost/name: " + yaml(machine.name) +
         "\n    hyperhost/mark: " + yaml(machine.mark) +
         "\nspec:\n  runStrategy: Halted\n  template:\n    metadata:\n      labels:\n"
         "        kubevirt.io/vm: " +
         yaml(name) + "\n    spec:\n      domain:\n";
  if (machine.type == "q35") out += "        machine:\n          type: q35\n";
  out += "        cpu:\n          sockets: " + std::to_string(machine.sockets) +
         "\n          cores: " + std::to_string(machine.cores) +
         "\n          threads: " + std::to_string(machine.threads) + "\n";
  if (!machine.cpu_model.empty()) out += "          model: " + yaml(machine.cpu_model) + "\n";
  out += "        memory:\n          guest: \"" + std::to_string(memory_mib(machine)) + "Mi\"\n";
  out += firmware(machine) + features(machine) + clock(machine) + devices(machine);
  out += networks(machine) + "      volumes:\n";
  for (std::size_t i = 0; i < machine.disks.size(); ++i)
    out += "        - name: disk-" + std::to_string(i) +
           "\n          dataVolume:\n            name: " + yaml(claim_of(name, i)) + "\n";
  return {"kubevirt.yaml", "application/yaml", out};
}

}  // namespace hyperhost::file_target
