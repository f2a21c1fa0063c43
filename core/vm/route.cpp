// SPDX-License-Identifier: Apache-2.0
#include "core/vm/route.hpp"

#include <algorithm>

namespace hyperhost {

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
  return {{"vm", vm.name},
          {"directory", directory.string()},
          {"disks", list},
          {"finished", finished},
          {"possible", possible()}};
}

}  // namespace hyperhost
