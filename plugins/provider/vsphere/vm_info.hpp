// SPDX-License-Identifier: Apache-2.0
// The server's description of a VM: plain values, read at once.
#ifndef HYPERHOST_PLUGINS_VSPHERE_VM_INFO_HPP
#define HYPERHOST_PLUGINS_VSPHERE_VM_INFO_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "names.hpp"

namespace hyper::vsphere {

struct Disk {
  std::string id;   ///< "disk-0": for the host
  int32_t key = 0;  ///< of the server
  std::string label;
  std::string controller;  ///< "ParaVirtualSCSIController0", its type and bus
  uint64_t unit = 0;
  uint64_t capacity = 0;  ///< bytes
  std::string backing;    ///< xsi:type
  std::string file;       ///< "[datastore] dir/name.vmdk"
  Ref datastore;
  std::string mode;     ///< "persistent", "independent_persistent" …
  std::string sharing;  ///< "sharingMultiWriter" …
  bool thin = false, has_parent = false, encrypted = false;
  bool in_snapshot = false;  ///< this plugin's snapshot has the disk, with its frozen file
  std::string uuid;          ///< of the backing
  std::string change_id;
  std::optional<bool> tracked;  ///< change tracking; nothing: not known, or the VM has none
  bool flat_extent = false;     ///< the server lists a -flat file for it
  std::string flat_file;        ///< "[datastore] dir/name-flat.vmdk"

  bool independent() const { return mode.rfind("independent", 0) == 0; }
  bool raw_mapping() const { return backing.find("RawDiskMapping") != std::string::npos; }
  /// A device of the host has a backing without a datastore, or a file name without one.
  bool on_datastore() const {
    return !datastore.empty() || (file.rfind('[', 0) == 0 && file.rfind("[]", 0) != 0);
  }
  bool physical = false;
  bool bus_sharing = false;  ///< its controller is shared with other VMs
  bool multi_writer() const { return sharing == "sharingMultiWriter"; }
  /// "ParaVirtualSCSIController0:1", with which a lease's key for the disk ends.
  std::string place() const { return controller + ":" + std::to_string(unit); }
};

struct Controller {
  std::string id, type;  ///< "ParaVirtualSCSIController0", "ParaVirtualSCSIController"
};

struct Nic {
  std::string mac, network, model;
};

/// What does not come along: "passthrough", "usb", "usb-controller", "sound" …
struct LeftDevice {
  std::string kind, label;
};

/// A file system, as VMware Tools report it.
struct GuestDisk {
  std::string path;
  uint64_t capacity = 0, free_bytes = 0;
};

struct Snapshot {
  Ref ref;
  std::string name;
};

struct VmInfo {
  Ref ref;
  std::string name;  ///< unescaped
  std::string path, folder, datacenter, host_name, cluster, vm_file;
  Ref host, datacenter_ref, cluster_ref;
  std::string power;       ///< "on", "off", "suspended"
  std::string connection;  ///< "connected", "disconnected", "orphaned", "inaccessible", "invalid"
  std::string guest_id, guest_name, guest_family, tools, annotation;
  std::string uuid, instance_uuid, hardware;
  std::string firmware;
  bool secure_boot = false, tpm = false, encrypted = false, is_template = false;
  bool cpu_hot_add = false, memory_hot_add = false, cpu_affinity = false, numa_affinity = false;
  bool disk_uuid = false;         ///< disk.EnableUUID
  bool tells_of_guest = false;    ///< VMware Tools run: what follows is what they report
  std::string guest_name_inside;  ///< the guest's host name
  std::vector<std::string> addresses;
  std::vector<GuestDisk> guest_disks;
  std::vector<LeftDevice> devices;
  bool change_tracking = false, change_tracking_supported = false, consolidation_needed = false;
  uint64_t cpus = 0, cores_per_socket = 0, memory = 0;
  std::vector<Disk> disks;
  std::vector<Nic> nics;
  std::vector<Controller> controllers;   ///< those that have disks
  std::vector<Snapshot> snapshots;       ///< without those in `leftovers`
  std::vector<Snapshot> leftovers;       ///< ours, of killed runs: set_leftovers_apart
  std::vector<std::string> passthrough;  ///< labels of devices of the host's own
  std::vector<std::string> disabled;     ///< methods that the server refuses at the moment
  std::vector<int32_t> boot_disks;       ///< keys, in the order in which the firmware tries them
  bool fault_tolerant = false;
  std::vector<Ref> tasks;  ///< recent ones

  bool tools_running() const { return tools == "guestToolsRunning"; }
};

VmInfo read_vm(Session& session, Names& names, const Ref& ref, const http::Cancel& cancel);

/// The disks among an array of devices.
std::vector<Disk> read_disks(const pugi::xml_node& devices);

/// All snapshots in a VM's property "snapshot", depth first.
std::vector<Snapshot> read_snapshots(const pugi::xml_node& tree);

/// "poweredOn" as "on".
std::string power_word(const std::string& state);

struct ClusterSettings;
struct Contents;

/// The description for hyper.provider/1, as JSON. seekable: whether the disks will be seekable.
/// cluster: null if nothing is known of it.
std::string describe(Names& names, const VmInfo& vm, bool seekable, const Contents& contents,
                     const ClusterSettings* cluster, const http::Cancel& cancel);

/// "linux", "windows" or "unknown".
std::string os_hint(const std::string& guest_id, const std::string& guest_family);

}  // namespace hyper::vsphere

#endif
