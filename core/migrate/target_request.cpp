// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/target_request.hpp"

#include <nlohmann/json.hpp>

#include "core/base/sha256.hpp"
#include "core/migrate/machine.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

/// A disk before it is there, by its route.
Json disk_entry(const MigrationConfig& job, const DiskRoute& disk) {
  Json out = {{"id", disk.disk.id},
              {"format", disk.target_format},
              {"virtual_size", disk.disk.capacity_bytes},
              {"file", disk.file_name}};
  if (!disk.direct_upload && (!job.upload_to_cloud || job.keep_local))
    out["path"] = (job.output_dir / disk.key).string();
  return out;
}

}  // namespace

std::string target_name(const MigrationConfig& job, const VmDescription& vm) {
  static const std::string kName = "{name}";
  std::string out = job.target.name;
  for (std::size_t at = 0; (at = out.find(kName, at)) != std::string::npos; at += vm.name.size())
    out.replace(at, kName.size(), vm.name);
  return out;
}

std::string target_mark(const MigrationConfig& job, const VmRoute& route) {
  return sha256_of(Json({job.provider, route.vm.ref, route.directory.string()}).dump())
      .substr(0, 32);
}

Json target_request(const MigrationConfig& job, const VmRoute& route,
                    const MigrationResult* result) {
  Json out = {{"name", target_name(job, route.vm)},
              {"vm", route.vm.name},
              {"mark", target_mark(job, route)},
              {"machine", machine_to_build(job.target.machine, job.target, route,
                                           result == nullptr ? Json() : result->guest)},
              {"disks", Json::array()}};
  if (!job.task_id.empty()) out["task_id"] = job.task_id;
  for (std::size_t i = 0; i < route.disks.size(); ++i) {
    Json disk = disk_entry(job, route.disks[i]);
    if (result != nullptr && i < result->disks.size()) {
      const DiskResult& done = result->disks[i];
      disk["format"] = done.target_format;
      disk["virtual_size"] = done.virtual_size;
      if (!done.uploaded_to.empty()) disk["object"] = done.uploaded_to;
      if (disk.contains("path") && !done.path.empty()) disk["path"] = done.path;
    }
    out["disks"].push_back(std::move(disk));
  }
  return out;
}

}  // namespace hyperhost
