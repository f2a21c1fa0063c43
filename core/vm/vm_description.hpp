// SPDX-License-Identifier: Apache-2.0
// A VM as its provider describes it, checked: the JSON document of hyper_provider.describe_vm
// (sdk/README.md) as values. Plain values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace hyperhost {

struct DiskDescription {
  std::string id;  ///< ^[a-zA-Z0-9_-]+$, unique in the VM
  std::string label, file;
  std::string format;                       ///< "" = only the content will tell
  uint64_t capacity_bytes = 0;              ///< guest-visible; 0 = not known before the read
  std::optional<uint64_t> source_bytes;     ///< what will be read; unknown for a lease's stream
  std::optional<uint64_t> allocated_bytes;  ///< of those, not holes
  /// What a pass has to read: without holes where they are known. Nothing: unknown.
  std::optional<uint64_t> bytes_to_read() const {
    return source_bytes && allocated_bytes ? std::min(*source_bytes, *allocated_bytes)
           : source_bytes                  ? source_bytes
                                           : allocated_bytes;
  }
  bool seekable = false, streamable = false, local_file = false;
  int boot_order = 999;
  std::string type = "unknown";  ///< boot, data, unknown
  std::string datastore;         ///< that it lies on; may be empty
  std::string controller;        ///< its place, e.g. "scsi0:0"; may be empty
  std::string content_id;        ///< another one: the content may be another; "" = never known
  bool blank = false;            ///< never written: nothing to read
  std::string mode;              ///< as the source calls it, e.g. "independent_persistent"
  std::string raw_mapping;       ///< "physical", "virtual": a mapped device; "" = a file
  bool multi_writer = false;     ///< several VMs may write it at once
  std::optional<bool> change_tracking;  ///< of its blocks; nothing: not known
};

struct NicDescription {
  std::string id, mac, network;
  std::string model;   ///< as the source calls it; may be empty
  bool sriov = false;  ///< a function of a network card of the host
};

struct ControllerDescription {
  std::string id;    ///< "scsi0": how the disks' places begin
  std::string type;  ///< as the source calls it, e.g. "VirtualSCSI"; may be empty
};

/// Something of the VM that does not come along.
struct LeftDevice {
  std::string kind;   ///< "passthrough", "usb", "nvram", "iso" …
  std::string label;  ///< as the source calls it; may be empty
};

/// A rule of the source's cluster that concerns the VM.
struct ClusterRule {
  std::string kind;   ///< "run-on", "keep-off", "together", "apart"
  std::string name;   ///< as the source calls it; may be empty
  std::string hosts;  ///< the group's name; may be empty
  bool mandatory = false;
};

/// What the source's cluster does for the VM. Nothing: not known.
struct ClusterSettings {
  std::optional<bool> drs, dpm, ha;
  std::vector<ClusterRule> rules;
};

/// A file system as the guest's agent reports it.
struct GuestDisk {
  std::string path;  ///< where it is mounted
  std::optional<uint64_t> free_bytes;
};

struct VmDescription {
  std::string ref, name, path, datacenter, export_method;
  std::string host;     ///< that it runs on or would be read through; may be empty
  std::string cluster;  ///< of that host; may be empty
  ClusterSettings cluster_settings;
  std::string guest_os, os_hint, os_version, firmware;
  std::string uuid, instance_uuid, hardware;  ///< as the source has them; may be empty
  std::string power_state;                    ///< "on", "off", "suspended", "unknown"
  bool secure_boot = false, tpm = false;
  bool consolidation_needed = false, fault_tolerance = false;
  bool cpu_hot_add = false, memory_hot_add = false, cpu_affinity = false, numa_affinity = false;
  bool disk_uuid = false;  ///< the guest sees the disks' UUIDs as serial numbers
  std::optional<bool> change_tracking;
  std::optional<std::string> host_name;               ///< the guest's; nothing: not known
  std::optional<std::vector<std::string>> addresses;  ///< the guest's; nothing: not known
  uint32_t cpu = 0, cores_per_socket = 0;             ///< 0 = not known
  uint64_t memory_bytes = 0;
  std::vector<DiskDescription> disks;
  std::vector<NicDescription> nics;
  std::vector<ControllerDescription> controllers;
  std::vector<LeftDevice> devices;
  std::vector<LeftDevice> attachments;  ///< files; the label is the file's name
  std::vector<std::string> snapshots;   ///< their names; may be empty texts
  std::vector<GuestDisk> guest_disks;
  std::vector<std::string> notes, warnings;
  nlohmann::json document;  ///< as the provider gave it

  uint64_t guest_bytes() const;
};

/// Throws Error(kFail) naming the provider and the member that is missing, of a wrong type,
/// duplicate or absurd (more than 4096 disks, a disk over 2 PiB).
VmDescription parse_vm_description(nlohmann::json document, const std::string& provider);

}  // namespace hyperhost
