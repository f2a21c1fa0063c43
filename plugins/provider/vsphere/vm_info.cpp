// SPDX-License-Identifier: Apache-2.0
#include "vm_info.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace hyper::vsphere {
namespace {

constexpr std::size_t kMaxDisabled = 1000;
constexpr std::size_t kMaxDevices = 1000;
constexpr int kMaxSnapshotDepth = 64;  // vSphere's own limit is 32

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool is_disk(const pugi::xml_node& device) {
  return xsi_type(device) == "VirtualDisk";
}

struct Bus {
  std::string name;  ///< type and bus
  bool shared = false;
};

Disk read_disk(const pugi::xml_node& device, const std::map<std::string, Bus>& controllers) {
  Disk disk;
  disk.key = static_cast<int32_t>(number(device, "key"));
  disk.label = text(device, "deviceInfo/label");
  const auto controller = controllers.find(text(device, "controllerKey"));
  if (controller != controllers.end()) {
    disk.controller = controller->second.name;
    disk.bus_sharing = controller->second.shared;
  }
  disk.unit = number(device, "unitNumber");
  disk.capacity = number(device, "capacityInBytes");
  const uint64_t kib = number(device, "capacityInKB");
  if (disk.capacity == 0 && kib <= UINT64_MAX / 1024) disk.capacity = kib * 1024;
  const pugi::xml_node backing = child(device, "backing");
  disk.backing = xsi_type(backing);
  disk.file = text(backing, "fileName");
  disk.datastore = ref_in(child(backing, "datastore"));
  disk.mode = text(backing, "diskMode");
  disk.sharing = text(backing, "sharing");
  disk.uuid = text(backing, "uuid");
  disk.thin = flag(backing, "thinProvisioned");
  disk.has_parent = static_cast<bool>(child(backing, "parent"));
  disk.encrypted = static_cast<bool>(child(backing, "keyId"));
  disk.change_id = text(backing, "changeId");
  disk.physical = text(backing, "compatibilityMode") == "physicalMode";
  return disk;
}

/// The name of an opaque network (NSX): its devices know its id only.
std::string opaque_network(Session& session, const VmInfo& vm, const std::string& id,
                           const http::Cancel& cancel) {
  const std::string what = "cannot read the networks of '" + vm.name + "'";
  std::string name;
  try {
    const Retrieved got = retrieve_one(session, vm.ref, {"network"}, what, cancel);
    each(got.object.at("network"), "ManagedObjectReference", [&](const pugi::xml_node& one) {
      const Ref network = ref_in(one);
      if (!name.empty() || network.type != "OpaqueNetwork") return;
      const Retrieved read = retrieve_one(session, network, {"name", "summary"}, what, cancel);
      if (text(read.object.at("summary"), "opaqueNetworkId") == id) name = read.object.text("name");
    });
  } catch (const Fault&) {  // not for this user: the id is all there is
  }
  return name;
}

void read_nic(const pugi::xml_node& device, Session& session, Names& names,
              const http::Cancel& cancel, VmInfo& vm) {
  Nic nic;
  nic.mac = text(device, "macAddress");
  nic.model = xsi_type(device);
  const pugi::xml_node backing = child(device, "backing");
  const std::string portgroup = text(backing, "port/portgroupKey");
  if (!portgroup.empty())
    nic.network = names.name({"DistributedVirtualPortgroup", portgroup}, cancel);
  if (nic.network.empty()) nic.network = text(backing, "deviceName");
  const std::string opaque = text(backing, "opaqueNetworkId");
  if (!opaque.empty()) nic.network = opaque_network(session, vm, opaque, cancel);
  if (nic.network.empty()) nic.network = opaque;
  if (nic.network.empty()) nic.network = text(device, "deviceInfo/summary");
  nic.network = unescaped_name(nic.network);
  vm.nics.push_back(std::move(nic));
}

void collect(const pugi::xml_node& parent, const char* list, int depth,
             std::vector<Snapshot>& out) {
  if (depth > kMaxSnapshotDepth) return;
  each(parent, list, [&](const pugi::xml_node& node) {
    out.push_back({ref_in(child(node, "snapshot")), text(node, "name")});
    collect(node, "childSnapshotList", depth + 1, out);
  });
}

/// Finds each disk's flat file in the layout: the extent beside its descriptor.
void read_layout(const pugi::xml_node& layout, VmInfo& vm) {
  each(layout, "file", [&](const pugi::xml_node& file) {
    if (text(file, "type") != "diskExtent") return;
    const std::string name = text(file, "name");
    for (Disk& disk : vm.disks) {
      if (!ends_with(disk.file, ".vmdk")) continue;
      if (name != disk.file.substr(0, disk.file.size() - 5) + "-flat.vmdk") continue;
      disk.flat_extent = true;
      disk.flat_file = name;
    }
  });
}

/// What the VM has that may be in an export's way, and what it boots from.
void read_conditions(const Object& object, VmInfo& vm) {
  const std::string tolerance = object.text("runtime.faultToleranceState");
  vm.fault_tolerant = !tolerance.empty() && tolerance != "notConfigured";
  each(object.at("disabledMethod"), "", [&](const pugi::xml_node& method) {
    if (vm.disabled.size() < kMaxDisabled) vm.disabled.push_back(text(method));
  });
  each(object.at("config.bootOptions.bootOrder"), "", [&](const pugi::xml_node& device) {
    if (child(device, "deviceKey"))
      vm.boot_disks.push_back(static_cast<int32_t>(number(device, "deviceKey")));
  });
  each(object.at("config.hardware.device"), "", [&](const pugi::xml_node& device) {
    const std::string kind = xsi_type(device);
    const bool virtual_gpu =
        xsi_type(child(device, "backing")) == "VirtualPCIPassthroughVmiopBackingInfo";
    if ((kind == "VirtualPCIPassthrough" && !virtual_gpu) || kind == "VirtualSriovEthernetCard")
      vm.passthrough.push_back(text(device, "deviceInfo/label"));
    const std::string what = kind == "VirtualPCIPassthrough" ? "passthrough"
                             : kind == "VirtualUSB"          ? "usb"
                             : kind == "VirtualUSBController" || kind == "VirtualUSBXHCIController"
                                 ? "usb-controller"
                                 : "";
    if (!what.empty() && vm.devices.size() < kMaxDevices)
      vm.devices.push_back({what, text(device, "deviceInfo/label")});
  });
}

/// As the VM's settings name the disk's place: "scsi0:1", "nvme0:0".
std::string setting_of(const Disk& disk) {
  const std::size_t number = disk.controller.find_last_not_of("0123456789") + 1;
  const auto is = [&](const char* kind) { return disk.controller.find(kind) != std::string::npos; };
  return (is("NVME")                 ? "nvme"
          : is("AHCI") || is("SATA") ? "sata"
          : is("IDE")                ? "ide"
                                     : "scsi") +
         disk.controller.substr(number) + ":" + std::to_string(disk.unit);
}

/// Change tracking is a setting of each disk, beside that of the VM.
void read_tracking(const Object& object, VmInfo& vm) {
  const pugi::xml_node settings = object.at("config.extraConfig");
  if (!vm.change_tracking || !settings) return;
  std::set<std::string> tracked;
  each(settings, "", [&](const pugi::xml_node& option) {
    const std::string key = lower(text(option, "key"));
    const std::size_t dot = key.rfind(".ctkenabled");
    if (dot != std::string::npos && lower(text(option, "value")) == "true")
      tracked.insert(key.substr(0, dot));
  });
  for (Disk& disk : vm.disks) disk.tracked = tracked.count(setting_of(disk)) != 0;
}

/// Settings of its hardware that a target may not have.
void read_settings(const Object& object, VmInfo& vm) {
  vm.cpu_hot_add = object.text("config.cpuHotAddEnabled") == "true" ||
                   object.text("config.cpuHotRemoveEnabled") == "true";
  vm.memory_hot_add = object.text("config.memoryHotAddEnabled") == "true";
  each(object.at("config.cpuAffinity"), "affinitySet",
       [&](const pugi::xml_node&) { vm.cpu_affinity = true; });
  each(object.at("config.extraConfig"), "", [&](const pugi::xml_node& option) {
    const std::string key = text(option, "key"), value = text(option, "value");
    if (key == "numa.nodeAffinity" && !value.empty()) vm.numa_affinity = true;
    if (key == "disk.EnableUUID" && (value == "TRUE" || value == "true" || value == "1"))
      vm.disk_uuid = true;
  });
}

/// What VMware Tools report of the guest, while they run.
void read_guest(const Object& object, VmInfo& vm) {
  vm.tells_of_guest = vm.power == "on" && vm.tools_running();
  vm.guest_name_inside = object.text("guest.hostName");
  each(object.at("guest.net"), "", [&](const pugi::xml_node& nic) {
    each(nic, "ipAddress", [&](const pugi::xml_node& address) {
      if (vm.addresses.size() < kMaxDevices) vm.addresses.push_back(text(address));
    });
  });
  each(object.at("guest.disk"), "", [&](const pugi::xml_node& disk) {
    if (vm.guest_disks.size() < kMaxDevices && child(disk, "freeSpace"))
      vm.guest_disks.push_back(
          {text(disk, "diskPath"), number(disk, "capacity"), number(disk, "freeSpace")});
  });
}

}  // namespace

std::string power_word(const std::string& state) {
  if (state == "poweredOn") return "on";
  if (state == "poweredOff") return "off";
  return state == "suspended" ? state : "unknown";
}

std::string os_hint(const std::string& guest_id, const std::string& guest_family) {
  if (guest_family == "linuxGuest") return "linux";
  if (guest_family == "windowsGuest" || guest_id.rfind("win", 0) == 0) return "windows";
  for (const char* linux :
       {"linux", "Linux", "debian", "ubuntu", "rhel", "centos", "sles", "suse", "fedora", "rocky",
        "almalinux", "photon", "amazon", "coreos", "opensuse", "redhat", "asianux", "mandriva"})
    if (guest_id.find(linux) != std::string::npos) return "linux";
  return "unknown";
}

std::vector<Snapshot> read_snapshots(const pugi::xml_node& tree) {
  std::vector<Snapshot> out;
  collect(tree, "rootSnapshotList", 0, out);
  return out;
}

std::vector<Disk> read_disks(const pugi::xml_node& devices) {
  std::map<std::string, Bus> controllers;  // by key
  each(devices, "", [&](const pugi::xml_node& device) {
    const std::string sharing = text(device, "sharedBus");
    if (child(device, "busNumber"))
      controllers[text(device, "key")] = {xsi_type(device) + text(device, "busNumber"),
                                          !sharing.empty() && sharing != "noSharing"};
  });
  std::vector<Disk> out;
  each(devices, "", [&](const pugi::xml_node& device) {
    if (!is_disk(device)) return;
    out.push_back(read_disk(device, controllers));
    out.back().id = "disk-" + std::to_string(out.size() - 1);
  });
  return out;
}

VmInfo read_vm(Session& session, Names& names, const Ref& ref, const http::Cancel& cancel) {
  std::string what = "cannot read the VM " + ref.id;
  const Retrieved got = retrieve_one(session, ref,
                                     {"name",
                                      "parent",
                                      "parentVApp",
                                      "config.uuid",
                                      "config.instanceUuid",
                                      "config.version",
                                      "config.guestId",
                                      "config.guestFullName",
                                      "config.firmware",
                                      "config.annotation",
                                      "config.bootOptions.efiSecureBootEnabled",
                                      "config.bootOptions.bootOrder",
                                      "config.changeTrackingEnabled",
                                      "config.cpuAffinity",
                                      "config.cpuHotAddEnabled",
                                      "config.cpuHotRemoveEnabled",
                                      "config.memoryHotAddEnabled",
                                      "config.extraConfig",
                                      "config.template",
                                      "config.files.vmPathName",
                                      "config.keyId",
                                      "config.hardware.numCPU",
                                      "config.hardware.numCoresPerSocket",
                                      "config.hardware.memoryMB",
                                      "config.hardware.device",
                                      "capability.changeTrackingSupported",
                                      "disabledMethod",
                                      "runtime.connectionState",
                                      "runtime.faultToleranceState",
                                      "runtime.powerState",
                                      "runtime.host",
                                      "runtime.consolidationNeeded",
                                      "guest.toolsRunningStatus",
                                      "guest.guestFamily",
                                      "guest.hostName",
                                      "guest.net",
                                      "guest.disk",
                                      "snapshot",
                                      "layoutEx",
                                      "recentTask"},
                                     what, cancel);
  const Object& object = got.object;
  VmInfo vm;
  vm.ref = ref;
  vm.name = unescaped_name(object.required("name", what));
  what = "cannot read the VM '" + vm.name + "'";
  // For each of these "not set" has a meaning: no disks, no snapshots, not encrypted.
  for (const char* path : {"config.hardware.device", "config.keyId", "config.template",
                           "config.changeTrackingEnabled", "snapshot"})
    static_cast<void>(object.known(path, what));
  Ref parent = ref_in(object.at("parent"));
  if (parent.empty()) parent = ref_in(object.at("parentVApp"));
  vm.folder = names.path(parent, cancel);
  vm.path = vm.folder + "/" + object.text("name");
  vm.datacenter_ref = names.ancestor(parent, "Datacenter", cancel);
  vm.datacenter = names.path(vm.datacenter_ref, cancel);
  if (!vm.datacenter.empty()) vm.datacenter.erase(0, 1);
  vm.host = ref_in(object.at("runtime.host"));
  vm.host_name = names.name(vm.host, cancel);
  if (!vm.host.empty()) {
    const Ref compute = names.parent(vm.host, cancel);
    if (compute.type == "ClusterComputeResource") {
      vm.cluster_ref = compute;
      vm.cluster = names.name(compute, cancel);
    }
  }
  vm.power = power_word(object.required("runtime.powerState", what));
  vm.connection = object.text("runtime.connectionState");
  vm.vm_file = object.text("config.files.vmPathName");
  vm.guest_id = object.text("config.guestId");
  vm.guest_name = object.text("config.guestFullName");
  vm.guest_family = object.text("guest.guestFamily");
  vm.tools = object.text("guest.toolsRunningStatus");
  vm.annotation = object.text("config.annotation");
  vm.uuid = object.text("config.uuid");
  vm.instance_uuid = object.text("config.instanceUuid");
  vm.hardware = object.text("config.version");
  vm.firmware = object.text("config.firmware");
  vm.secure_boot = object.text("config.bootOptions.efiSecureBootEnabled") == "true";
  vm.encrypted = static_cast<bool>(object.at("config.keyId"));
  vm.is_template = object.text("config.template") == "true";
  vm.change_tracking = object.text("config.changeTrackingEnabled") == "true";
  vm.change_tracking_supported = object.text("capability.changeTrackingSupported") == "true";
  vm.consolidation_needed = object.text("runtime.consolidationNeeded") == "true";
  vm.cpus = number(object.at("config.hardware.numCPU"), "");
  vm.cores_per_socket = number(object.at("config.hardware.numCoresPerSocket"), "");
  vm.memory = std::min<uint64_t>(number(object.at("config.hardware.memoryMB"), ""), 1u << 30) << 20;
  const pugi::xml_node devices = object.at("config.hardware.device");
  vm.disks = read_disks(devices);
  each(devices, "", [&](const pugi::xml_node& device) {
    const std::string id = xsi_type(device) + text(device, "busNumber");
    if (child(device, "busNumber") &&
        std::any_of(vm.disks.begin(), vm.disks.end(),
                    [&](const Disk& disk) { return disk.controller == id; }))
      vm.controllers.push_back({id, xsi_type(device)});
    if (child(device, "macAddress")) read_nic(device, session, names, cancel, vm);
    vm.tpm = vm.tpm || xsi_type(device) == "VirtualTPM";
  });
  read_conditions(object, vm);
  read_settings(object, vm);
  read_tracking(object, vm);
  read_guest(object, vm);
  vm.snapshots = read_snapshots(object.at("snapshot"));
  read_layout(object.at("layoutEx"), vm);
  each(object.at("recentTask"), "ManagedObjectReference",
       [&](const pugi::xml_node& task) { vm.tasks.push_back(ref_in(task)); });
  return vm;
}

}  // namespace hyper::vsphere
