// SPDX-License-Identifier: Apache-2.0
// The VM description that the host reads: see the README's table of its members.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "contents.hpp"

namespace hyper::ovf {
namespace {

using Json = nlohmann::ordered_json;

Json describe_disk(const Disk& disk) {
  Json out = {{"id", disk.id}, {"label", disk.label}, {"ovf_id", disk.ovf_id}};
  if (!disk.blank) out["file"] = disk.file;
  out["format"] = disk.facts.format;
  if (!disk.facts.subformat.empty()) out["subformat"] = disk.facts.subformat;
  out["capacity_bytes"] = disk.capacity;
  out["bytes"] = nullptr;
  Json access = Json::array();
  if (disk.blank) {
    out["blank"] = true;
  } else {
    out["bytes"] = disk.range.size() + disk.extras.size();
    uint64_t allocated = 0;
    for (const Piece& piece : disk.range.pieces())
      allocated += std::min(piece.length, piece.file->allocated());
    if (!disk.gzip && disk.extras.size() == 0) out["allocated_bytes"] = allocated;
    if (!disk.gzip) access = {"seek", "extents"};
    if (disk.in_place()) access.push_back("file");
    access.push_back("stream");
    if (!disk.facts.extents.empty()) access.push_back("sibling");
    out["content_id"] = content_id(disk);
  }
  out["access"] = access;
  out["boot_order"] = disk.boot_order;
  out["type"] = disk.blank || disk.boot_order != 0 ? "data" : "boot";
  if (!disk.controller.empty()) out["controller"] = disk.controller;
  return out;
}

}  // namespace

std::string content_id(const Disk& disk) {
  std::string out;
  for (const Range* range : {&disk.range, &disk.extras})
    for (const Piece& piece : range->pieces()) {
      const Stamp& stamp = piece.file->stamp();
      for (const uint64_t value :
           {stamp.device, stamp.inode, stamp.size, static_cast<uint64_t>(stamp.mtime_ns),
            static_cast<uint64_t>(stamp.ctime_ns), piece.offset, piece.length})
        out += (out.empty() ? "" : ".") + std::to_string(value);
    }
  return out;
}

std::string describe(const Contents& contents, const Vm& vm, const std::string& ref) {
  Json out = {{"ref", ref},
              {"name", vm.ovf.name},
              {"path", contents.path},
              {"power_state", "off"},
              {"guest_os", vm.ovf.guest_os},
              {"os_hint", vm.ovf.os_hint},
              {"os_version", vm.ovf.os_version},
              {"firmware", vm.ovf.firmware},
              {"secure_boot", vm.ovf.secure_boot},
              {"cpu", vm.ovf.cpus},
              {"memory_bytes", vm.ovf.memory}};
  if (vm.ovf.cores_per_socket != 0) out["cores_per_socket"] = vm.ovf.cores_per_socket;
  if (!vm.ovf.uuid.empty()) out["uuid"] = vm.ovf.uuid;
  if (!vm.ovf.hardware.empty()) out["hardware"] = vm.ovf.hardware;
  if (vm.ovf.tpm) out["vtpm"] = true;
  if (vm.ovf.cpu_hot_add) out["cpu_hot_add"] = true;
  if (vm.ovf.memory_hot_add) out["memory_hot_add"] = true;
  if (vm.ovf.disk_uuid) out["disk_uuid"] = true;
  for (const std::string& label : vm.ovf.usb_controllers)
    out["devices"].push_back({{"kind", "usb-controller"}, {"label", label}});
  if (!vm.ovf.annotation.empty()) out["annotation"] = vm.ovf.annotation;
  out["controllers"] = Json::array();
  for (const OvfController& controller : vm.ovf.controllers)
    out["controllers"].push_back({{"id", controller.id}, {"type", controller.type}});
  out["disks"] = Json::array();
  for (const Disk& disk : vm.disks) out["disks"].push_back(describe_disk(disk));
  out["nics"] = Json::array();
  for (std::size_t i = 0; i < vm.ovf.nics.size(); ++i) {
    const OvfNic& nic = vm.ovf.nics[i];
    out["nics"].push_back({{"id", "nic-" + std::to_string(i)},
                           {"mac", nic.mac},
                           {"network", nic.network},
                           {"model", nic.model}});
  }
  out["attachments"] = Json::array();
  for (const Attachment& file : vm.attachments)
    out["attachments"].push_back({{"kind", file.kind}, {"file", file.file}, {"bytes", file.bytes}});
  out["warnings"] = Json::array();
  for (const std::string& text : vm.warnings) out["warnings"].push_back({{"summary", text}});
  out["notes"] = vm.notes;
  out["datacenter"] = "";
  out["export_method"] = contents.kind == PackageKind::kArchive      ? "ova"
                         : contents.kind == PackageKind::kDescriptor ? "ovf"
                                                                     : "image";
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hyper::ovf
