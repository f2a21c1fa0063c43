// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/machine.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/base/json_text.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

Json cpu_of(const MachineSettings& machine, const VmDescription& vm) {
  const uint32_t count = std::max<uint32_t>(1, machine.cpus != 0 ? machine.cpus : vm.cpu);
  const uint32_t per_socket = vm.cores_per_socket;
  const uint32_t cores = per_socket != 0 && count % per_socket == 0 ? per_socket : count;
  Json out = {{"count", count}, {"sockets", count / cores}, {"cores", cores}, {"threads", 1}};
  if (!machine.cpu_model.empty()) out["model"] = machine.cpu_model;
  return out;
}

Json disk_of(const DiskRoute& route, const MachineSettings& machine, const TargetSettings& target,
             bool boot) {
  const DiskDescription& disk = route.disk;
  Json out = {{"id", disk.id}, {"bus", machine.bus}, {"order", disk.boot_order}, {"boot", boot}};
  if (disk.capacity_bytes != 0) out["capacity_bytes"] = disk.capacity_bytes;
  if (const std::string storage = mapped(target.storages, disk.datastore); !storage.empty())
    out["storage"] = storage;
  return out;
}

/// What the preparation found; several plugins have a list of what each of them did.
std::string distro_of(const Json& guest) {
  if (!guest.is_object()) return {};
  std::string out = text_of(guest, "distro");
  for (const Json& one : guest.value("plugins", Json::array()))
    if (out.empty()) out = text_of(one, "distro");
  return out;
}

}  // namespace

std::string mapped(const std::map<std::string, std::string>& names, const std::string& name) {
  auto found = names.find(name);
  if (found == names.end()) found = names.find("*");
  return found == names.end() ? std::string() : found->second;
}

const DiskRoute& boot_disk(const VmRoute& route) {
  const auto before = [](const DiskRoute& a, const DiskRoute& b) {
    return std::pair(a.disk.boot_order, a.disk.type != "boot") <
           std::pair(b.disk.boot_order, b.disk.type != "boot");
  };
  return *std::min_element(route.disks.begin(), route.disks.end(), before);
}

Json machine_of(const MachineSettings& machine, const TargetSettings& target,
                const VmRoute& route) {
  static const std::regex uuid_form("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
  const VmDescription& vm = route.vm;
  const bool windows = vm.os_hint == "windows";
  const std::string type = !machine.type.empty() ? machine.type : vm.secure_boot ? "q35" : "pc";
  Json out = {{"arch", "x86_64"},
              {"machine", type},
              {"firmware", vm.firmware},
              {"secure_boot", vm.secure_boot},
              {"tpm", vm.tpm},
              {"cpu", cpu_of(machine, vm)},
              {"memory_bytes", machine.memory_bytes != 0 ? machine.memory_bytes : vm.memory_bytes},
              {"clock", windows ? "localtime" : "utc"},
              {"os", {{"family", vm.os_hint}}},
              {"agent", machine.agent},
              {"hyperv", windows},
              {"disks", Json::array()},
              {"nics", Json::array()}};
  if (std::regex_match(vm.uuid, uuid_form)) out["uuid"] = vm.uuid;
  if (!vm.guest_os.empty()) out["os"]["name"] = vm.guest_os;
  for (const DiskRoute& disk : route.disks)
    out["disks"].push_back(disk_of(disk, machine, target, &disk == &boot_disk(route)));
  for (const NicDescription& nic : vm.nics) {
    Json entry = {
        {"id", nic.id}, {"mac", nic.mac}, {"network", nic.network}, {"model", machine.nic}};
    if (const std::string to = mapped(target.networks, nic.network); !to.empty())
      entry["target_network"] = to;
    out["nics"].push_back(std::move(entry));
  }
  return out;
}

Json machine_to_build(const MachineSettings& machine, const TargetSettings& target,
                      const VmRoute& route, const Json& guest) {
  Json out = machine_of(machine, target, route);
  if (out["firmware"] != "uefi") out["firmware"] = "bios";
  if (const std::string distro = distro_of(guest); !distro.empty()) out["os"]["distro"] = distro;
  return out;
}

}  // namespace hyperhost
