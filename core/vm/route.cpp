// SPDX-License-Identifier: Apache-2.0
#include "core/vm/route.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hyperhost {

namespace {

/// Of formats that hold no compressed data the guest's data are no more than what is stored.
bool stores_plainly(const DiskDescription& disk) {
  return disk.format == "raw" || disk.format == "vhd" || disk.format == "vhdx" ||
         disk.format == "vdi";
}

}  // namespace

DiskSpace disk_space(const DiskRoute& route, Compression compression) {
  const DiskDescription& disk = route.disk;
  DiskSpace out;
  if (disk.blank) return out;
  const uint64_t limit = disk.capacity_bytes != 0 ? disk.capacity_bytes : UINT64_MAX;
  if (!route.converted) {
    out.known = disk.source_bytes.has_value() || disk.capacity_bytes != 0;
    out.worst = disk.source_bytes.value_or(disk.capacity_bytes);
    out.least = disk.allocated_bytes.value_or(disk.source_bytes.value_or(0));
    return out;
  }
  const bool shrinks = compression == Compression::kZlib || compression == Compression::kZstd;
  const uint64_t stored =
      disk.allocated_bytes.value_or(disk.format == "raw" ? 0 : disk.source_bytes.value_or(0));
  if (!shrinks) out.least = std::min(stored, limit);
  const bool measured = stores_plainly(disk) && disk.allocated_bytes.has_value();
  out.known = measured || disk.capacity_bytes != 0;
  out.worst = measured ? std::min(*disk.allocated_bytes, limit) : disk.capacity_bytes;
  // The tables of the image: qcow2, the largest, has 8 bytes for each cluster of 64 KiB and 2 for
  // its reference.
  constexpr uint64_t kTables = uint64_t{1} << 20;
  if (out.worst != 0) out.worst += out.worst / 4096 + kTables;
  return out;
}

bool VmRoute::possible() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Diagnostic& one) { return one.severity == Severity::kError; });
}

nlohmann::json VmRoute::to_json() const {
  using nlohmann::json;
  json list = json::array();
  for (const DiskRoute& route : disks)
    list.push_back(
        {{"id", route.disk.id},
         {"source_format", route.disk.format},
         {"capacity_bytes", route.disk.capacity_bytes},
         {"source_bytes", route.disk.source_bytes ? json(*route.disk.source_bytes) : json(nullptr)},
         {"target_format", route.target_format},
         {"target", (directory / route.file_name).string()},
         {"staged", route.staged},
         {"direct_upload", route.direct_upload},
         {"digest_in_pass", route.digest_in_pass},
         {"how", route.why},
         {"notes", route.notes}});
  json found = json::array();
  for (const VmFinding& one : predicted) found.push_back(finding_json(one));
  return {{"vm", vm.name},        {"directory", directory.string()},
          {"disks", list},        {"findings", found},
          {"finished", finished}, {"possible", possible()}};
}

}  // namespace hyperhost
