// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/machine.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hyperhost {

nlohmann::json machine_of(const MachineSettings& machine, const VmRoute& route) {
  const VmDescription& vm = route.vm;
  nlohmann::json out = {{"arch", "x86_64"},
                        {"machine", machine.type},
                        {"firmware", vm.firmware},
                        {"secure_boot", vm.secure_boot},
                        {"tpm", vm.tpm},
                        {"cpu", {{"count", std::max<uint32_t>(1, vm.cpu)}}},
                        {"memory_bytes", vm.memory_bytes},
                        {"os", {{"family", vm.os_hint}}},
                        {"disks", nlohmann::json::array()},
                        {"nics", nlohmann::json::array()}};
  for (const DiskRoute& disk : route.disks)
    out["disks"].push_back(
        {{"id", disk.disk.id}, {"bus", machine.bus}, {"order", disk.disk.boot_order}});
  for (const NicDescription& nic : vm.nics)
    out["nics"].push_back(
        {{"id", nic.id}, {"mac", nic.mac}, {"network", nic.network}, {"model", machine.nic}});
  return out;
}

}  // namespace hyperhost
