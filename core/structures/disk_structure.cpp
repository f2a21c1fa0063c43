// SPDX-License-Identifier: Apache-2.0
#include "core/structures/disk_structure.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

/// As many as Linux names. Each may cost some milliseconds where they are made for that.
constexpr std::size_t kMostVolumes = 128;

const char* seal_name(Seal seal) {
  switch (seal) {
    case Seal::kKey:
      return "key";
    case Seal::kClear:
      return "clear";
    case Seal::kTpm:
      return "tpm";
    case Seal::kTpmAlone:
      return "tpm-alone";
    case Seal::kNetworkKey:
      return "network";
    case Seal::kNone:
      break;
  }
  return "";
}

nlohmann::json volume_json(const Volume& volume) {
  nlohmann::json out = {{"offset", volume.offset}, {"length", volume.length}};
  if (volume.number != 0) out["number"] = volume.number;
  for (const auto& [name, text] : {std::pair{"type", volume.type},
                                   {"kind", volume.kind},
                                   {"state", volume.state},
                                   {"seal", std::string(seal_name(volume.seal))},
                                   {"fallback_loader", volume.fallback_loader}})
    if (!text.empty()) out[name] = text;
  if (volume.active) out["active"] = true;
  if (volume.dirty) out["dirty"] = true;
  if (volume.hibernated) out["hibernated"] = true;
  if (!volume.loaders.empty()) out["loaders"] = volume.loaders;
  return out;
}

}  // namespace

bool DiskStructure::known() const {
  return !table.empty() || !boot_code.empty() || !volumes.empty();
}

bool DiskStructure::has_type(const char* type) const {
  return std::any_of(volumes.begin(), volumes.end(),
                     [&](const Volume& one) { return one.type == type; });
}

DiskStructure read_structure(DiskBytes& disk) {
  DiskStructure out;
  read_partitions(disk, out);
  const std::size_t looked_at = std::min(out.volumes.size(), kMostVolumes);
  for (std::size_t i = 0; i < looked_at; ++i)
    if (out.volumes[i].kind.empty()) identify(disk, out.volumes[i]);
  out.bytes_read = disk.bytes_read();
  out.cut = disk.cut() || looked_at < out.volumes.size();
  return out;
}

nlohmann::json structure_json(const DiskStructure& structure) {
  nlohmann::json out = {{"bytes_read", structure.bytes_read}, {"volumes", nlohmann::json::array()}};
  for (const auto& [name, text] : {std::pair{"table", structure.table},
                                   {"boot_code", structure.boot_code},
                                   {"boot_code_fault", structure.boot_code_fault}})
    if (!text.empty()) out[name] = text;
  if (!structure.problems.empty()) out["problems"] = structure.problems;
  if (structure.cut) out["cut"] = true;
  for (const Volume& volume : structure.volumes) out["volumes"].push_back(volume_json(volume));
  return out;
}

}  // namespace hyperhost
