// SPDX-License-Identifier: Apache-2.0
// What an OVF descriptor says (DMTF DSP0243 1.0, 1.1, 2.0), reduced to what a migration needs.
// Plain values; sizes are bytes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hyper::ovf {

/// References/File.
struct OvfFile {
  std::string id, href;
  std::optional<uint64_t> size;
  std::string compression;  ///< "", "gzip", "identity" …
  uint64_t chunk_size = 0;  ///< 0 = in one piece
};

/// DiskSection/Disk.
struct OvfDisk {
  std::string id;
  std::string file_id;  ///< "" = blank
  std::string format;   ///< a URI
  uint64_t capacity = 0;
  uint64_t unit = 1;  ///< the capacity is given in multiples of this
};

/// A hard disk of a VM.
struct OvfDrive {
  std::string disk_id;  ///< of a Disk; "" where file_id names a File directly
  std::string file_id;
  std::string label;
  std::string controller;  ///< "scsi0:0", "sata0:1", "" = unknown
  unsigned boot_order = 0;
};

struct OvfNic {
  std::string mac, network, model;
};

struct OvfController {
  std::string id;    ///< "scsi0"
  std::string type;  ///< ResourceSubType: "VirtualSCSI", "AHCI"; "" = unknown
};

struct OvfAttachment {
  std::string kind;  ///< "iso", "nvram", "other"
  std::string file_id;
};

struct OvfVm {
  std::string id, name, annotation;
  std::string guest_os, os_hint = "unknown", os_version;
  std::string firmware = "bios";
  std::string uuid, hardware;  ///< "" = unknown
  bool secure_boot = false, tpm = false;
  bool cpu_hot_add = false, memory_hot_add = false, disk_uuid = false;
  std::vector<std::string> usb_controllers;             ///< their labels
  uint64_t cpus = 0, cores_per_socket = 0, memory = 0;  ///< 0 = unknown
  std::vector<OvfController> controllers;
  std::vector<OvfDrive> drives;
  std::vector<OvfNic> nics;
  std::vector<OvfAttachment> attachments;
  std::vector<std::string> warnings;
};

struct OvfDocument {
  std::map<std::string, OvfFile> files;  ///< by id
  std::vector<std::string> file_order;
  std::map<std::string, OvfDisk> disks;  ///< by id
  std::vector<std::string> disk_order;
  std::vector<OvfVm> vms;
  std::vector<std::string> warnings;
};

constexpr uint64_t kMaxDescriptorBytes = 16u << 20;

/// label: the file, for messages. Throws HYPER_CORRUPT with line and column for XML that is not
/// well-formed, and hyper::Error naming element and value for what cannot be understood.
OvfDocument parse_ovf(const std::string& text, const std::string& label);

}  // namespace hyper::ovf
