// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/plan_report.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/timestamp.hpp"
#include "core/base/units.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

std::string count(std::size_t number, const char* what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

std::string how(const VmRoute& route) {
  if (route.finished) return "done before";
  const bool staged = std::any_of(route.disks.begin(), route.disks.end(),
                                  [](const DiskRoute& disk) { return disk.staged; });
  const bool direct = std::any_of(route.disks.begin(), route.disks.end(),
                                  [](const DiskRoute& disk) { return disk.direct_upload; });
  return staged ? "staged" : direct ? "straight to the store" : "one pass";
}

std::string formats(const VmRoute& route) {
  std::string from, to;
  for (const DiskRoute& disk : route.disks) {
    const std::string& format = disk.disk.format.empty() ? "?" : disk.disk.format;
    if (from.find(format) == std::string::npos) from += (from.empty() ? "" : "+") + format;
    if (to.find(disk.target_format) == std::string::npos)
      to += (to.empty() ? "" : "+") + disk.target_format;
  }
  return from + " -> " + to;
}

std::string time_text(const PlanEstimate& estimate) {
  if (!estimate.shortest) return "not known: nothing ran here before, and no limit is set";
  const std::string least = human_duration(*estimate.shortest);
  const std::string from_to = !estimate.longest ? "at least " + least
                              : estimate.longest == estimate.shortest
                                  ? "about " + least
                                  : least + " to " + human_duration(*estimate.longest);
  return from_to + ", " + estimate.basis;
}

/// What the time leaves out.
std::string windows_text(const PlanEstimate& estimate) {
  if (!estimate.last_opens) return {};
  const std::string at = format_timestamp(*estimate.last_opens, 0);
  return estimate.later == 1
             ? "          1 VM waits for its start window, which opens at " + at + "\n"
             : "          " + count(estimate.later, "VM") +
                   " wait for their start windows; the last opens at " + at + "\n";
}

}  // namespace

std::string routes_table(const std::vector<VmRoute>& routes) {
  Table table({"VM", ">Disks", ">Guest size", "Formats", "How"});
  for (const VmRoute& route : routes) {
    uint64_t guest = 0;
    for (const DiskRoute& disk : route.disks) guest += disk.disk.capacity_bytes;
    table.row({route.vm.name, std::to_string(route.disks.size()), human_bytes(guest),
               formats(route), how(route)});
  }
  return table.text() + "\n";
}

std::string findings_table(const std::vector<VmRoute>& routes) {
  struct Line {
    const VmFinding* first;
    std::string where;  ///< the first one's VM and evidence
    std::set<std::string> vms;
  };
  std::map<std::pair<int, std::string>, Line> lines;  // errors first
  for (const VmRoute& route : routes)
    for (const VmFinding& one : route.predicted) {
      const auto [found, fresh] =
          lines.try_emplace({-static_cast<int>(one.severity), one.rule}, Line{&one, {}, {}});
      if (fresh) {
        found->second.where = route.vm.name;
        for (const std::string* part : {&one.disk, &one.evidence})
          if (!part->empty()) found->second.where += ": " + *part;
      }
      found->second.vms.insert(route.vm.name);
    }
  if (lines.empty()) return {};
  Table table({"Severity", "Rule", ">VMs", "Finding", "The first", "Changed by"});
  for (const auto& [key, line] : lines)
    table.row({finding_severity_name(line.first->severity), line.first->rule,
               std::to_string(line.vms.size()), line.first->summary, line.where,
               line.first->fixable_by});
  return table.text() + "\n";
}

std::string estimate_text(const PlanEstimate& estimate, const std::vector<Diagnostic>& said) {
  std::string out =
      "VMs       " + std::to_string(estimate.vms) +
      (estimate.done_before == 0 ? ""
                                 : ", " + std::to_string(estimate.done_before) + " done before") +
      "; " + count(estimate.disks, "disk") + " to migrate, " + bytes_text(estimate.todo_bytes) +
      " as guests see them" + (estimate.at_least ? ", and disks of unknown size" : "") + "\n";
  out += std::string("to read   ") + (estimate.at_most ? "at most " : "") +
         bytes_text(estimate.move_bytes) + "\n";
  for (const PlaceEstimate& place : estimate.places) {
    out += "space     up to " + bytes_text(place.worst);
    if (place.least != 0) out += ", at least " + bytes_text(place.least);
    out += " in " + place.directory.string();
    if (place.free_bytes) out += " (" + bytes_text(*place.free_bytes) + " free)";
    out += "\n";
  }
  if (estimate.todo_bytes != 0) out += "time      " + time_text(estimate) + "\n";
  out += windows_text(estimate);
  const auto warnings = std::count_if(said.begin(), said.end(), [](const Diagnostic& one) {
    return one.severity == Severity::kWarning;
  });
  out += "warnings  " + (warnings == 0 ? "none" : std::to_string(warnings) + ", above") + "\n";
  return out;
}

}  // namespace hyperhost
