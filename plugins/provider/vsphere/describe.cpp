// SPDX-License-Identifier: Apache-2.0
// A VM's description for the host and for people (sdk/README.md, "Provider").
#include <algorithm>
#include <nlohmann/json.hpp>

#include "clusters.hpp"
#include "content.hpp"

namespace hyper::vsphere {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostRules = 1000;  // as the schema says

/// The place of each disk in the order in which the firmware tries them: what the VM's boot options
/// name comes first.
std::vector<std::size_t> boot_order(const VmInfo& vm) {
  std::vector<std::size_t> order, out(vm.disks.size());
  const auto add = [&](std::size_t i) {
    if (std::find(order.begin(), order.end(), i) == order.end()) order.push_back(i);
  };
  for (const int32_t key : vm.boot_disks)
    for (std::size_t i = 0; i < vm.disks.size(); ++i)
      if (vm.disks[i].key == key) add(i);
  for (std::size_t i = 0; i < vm.disks.size(); ++i) add(i);
  for (std::size_t place = 0; place < order.size(); ++place) out[order[place]] = place;
  return out;
}

Json describe_disk(const Disk& disk, std::size_t place, bool seekable, const std::string& store,
                   const Contents& contents) {
  Json out = {{"id", disk.id},
              {"label", disk.label},
              {"key", disk.key},
              {"file", disk.file},
              {"format", seekable ? "raw" : "vmdk"},
              {"subformat", seekable ? "flat" : "streamOptimized"},
              {"capacity_bytes", disk.capacity},
              {"access", seekable ? Json{"seek", "extents"} : Json{"stream"}},
              {"boot_order", place},
              {"type", place == 0 ? "boot" : "data"},
              {"controller", disk.controller.empty() ? std::string() : disk.place()},
              {"unit", disk.unit},
              {"datastore", store},
              {"mode", disk.mode},
              {"thin", disk.thin}};
  if (seekable) out["bytes"] = disk.capacity;
  if (const auto id = contents.ids.find(disk.id); id != contents.ids.end())
    out["content_id"] = id->second;
  if (!disk.change_id.empty()) out["change_id"] = disk.change_id;
  if (disk.tracked) out["change_tracking"] = *disk.tracked;
  if (disk.raw_mapping()) out["raw_mapping"] = disk.physical ? "physical" : "virtual";
  if (disk.multi_writer() || disk.bus_sharing) out["multi_writer"] = true;
  if (disk.encrypted) out["encrypted"] = true;
  return out;
}

/// What the cluster does for this VM.
Json describe_cluster(const ClusterSettings& cluster, const VmInfo& vm) {
  Json out = Json::object();
  if (cluster.drs) out["drs"] = *cluster.drs;
  if (cluster.dpm) out["dpm"] = *cluster.dpm;
  if (cluster.ha) out["ha"] = *cluster.ha;
  out["rules"] = Json::array();
  for (const ClusterRule& rule : cluster.rules) {
    if (rule.vms.count(vm.ref.id) == 0 || out["rules"].size() == kMostRules) continue;
    Json one = {{"kind", rule.kind}, {"name", rule.name}};
    if (!rule.hosts.empty()) one["hosts"] = rule.hosts;
    one["mandatory"] = rule.mandatory;
    out["rules"].push_back(std::move(one));
  }
  return out;
}

}  // namespace

std::string describe(Names& names, const VmInfo& vm, bool seekable, const Contents& contents,
                     const ClusterSettings* cluster, const http::Cancel& cancel) {
  Json out = {{"ref", vm.ref.id},
              {"name", vm.name},
              {"path", vm.path},
              {"datacenter", vm.datacenter},
              {"folder", vm.folder},
              {"host", vm.host_name},
              {"cluster", vm.cluster},
              {"power_state", vm.power},
              {"connection_state", vm.connection},
              {"export_method", "vsphere"},
              {"guest_os", vm.guest_id},
              {"os_hint", os_hint(vm.guest_id, vm.guest_family)},
              {"os_version", vm.guest_name},
              {"tools", vm.tools},
              {"firmware", vm.firmware == "efi"    ? "uefi"
                           : vm.firmware == "bios" ? "bios"
                                                   : "unknown"},
              {"secure_boot", vm.secure_boot},
              {"vtpm", vm.tpm},
              {"encrypted", vm.encrypted},
              {"template", vm.is_template},
              {"cpu", vm.cpus},
              {"cores_per_socket", vm.cores_per_socket},
              {"memory_bytes", vm.memory},
              {"hardware", vm.hardware},
              {"uuid", vm.uuid},
              {"instance_uuid", vm.instance_uuid},
              {"change_tracking", vm.change_tracking},
              {"consolidation_needed", vm.consolidation_needed},
              {"fault_tolerance", vm.fault_tolerant},
              {"cpu_hot_add", vm.cpu_hot_add},
              {"memory_hot_add", vm.memory_hot_add},
              {"cpu_affinity", vm.cpu_affinity},
              {"numa_affinity", vm.numa_affinity},
              {"disk_uuid", vm.disk_uuid},
              {"annotation", vm.annotation}};
  out["disks"] = Json::array();
  const std::vector<std::size_t> places = boot_order(vm);
  for (std::size_t i = 0; i < vm.disks.size(); ++i)
    out["disks"].push_back(describe_disk(vm.disks[i], places[i], seekable,
                                         unescaped_name(names.name(vm.disks[i].datastore, cancel)),
                                         contents));
  if (!contents.unknown.empty())
    out["notes"] = {
        "if this export of '" + vm.name +
        "' is interrupted, the next one starts from the beginning: " + contents.unknown};
  out["nics"] = Json::array();
  for (std::size_t i = 0; i < vm.nics.size(); ++i)
    out["nics"].push_back({{"id", "nic-" + std::to_string(i)},
                           {"mac", vm.nics[i].mac},
                           {"network", vm.nics[i].network},
                           {"model", vm.nics[i].model},
                           {"sriov", vm.nics[i].model == "VirtualSriovEthernetCard"}});
  out["controllers"] = Json::array();
  for (const Controller& controller : vm.controllers)
    out["controllers"].push_back({{"id", controller.id}, {"type", controller.type}});
  out["devices"] = Json::array();
  for (const LeftDevice& device : vm.devices)
    out["devices"].push_back({{"kind", device.kind}, {"label", device.label}});
  if (cluster != nullptr) out["cluster_settings"] = describe_cluster(*cluster, vm);
  if (vm.tells_of_guest) {
    out["host_name"] = vm.guest_name_inside;
    out["addresses"] = vm.addresses;
    out["guest_disks"] = Json::array();
    for (const GuestDisk& disk : vm.guest_disks)
      out["guest_disks"].push_back({{"path", disk.path},
                                    {"capacity_bytes", disk.capacity},
                                    {"free_bytes", disk.free_bytes}});
  }
  out["snapshots"] = Json::array();
  for (const Snapshot& snapshot : vm.snapshots)
    out["snapshots"].push_back({{"ref", snapshot.ref.id}, {"name", snapshot.name}});
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hyper::vsphere
