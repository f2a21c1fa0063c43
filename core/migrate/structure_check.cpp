// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/structure_check.hpp"

#include <algorithm>

#include "core/base/units.hpp"
#include "core/block/base_reader.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/structure_rules.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

DiskStructure read_disk(std::shared_ptr<SourceHandle> source, Operation& op) {
  BaseReader reader(std::move(source));
  DiskBytes bytes(
      [&](uint64_t offset, void* buffer, uint64_t length) {
        op.cancel().check();
        try {
          reader.read(hyper::Op(&op), offset, buffer, length);
        } catch (const hyper::Reported& failure) {
          op.check(failure.status(), "read a disk of " + op.name());
        }
      },
      reader.length(), kMostOfDisk);
  return read_structure(bytes);
}

/// The guest plugin of the plan reports findings of this rule itself, or changes what they are of.
bool leaves_to_plugin(const std::string& rule, const MigrationConfig& job,
                      PluginRegistry& plugins) {
  if (!job.guest.wanted) return false;
  const PluginFile* file = plugins.find(job.guest_plugin.plugin);
  if (file == nullptr) return false;
  const nlohmann::json rules = file->manifest.value("rules", nlohmann::json::array());
  return rules.is_array() && std::find(rules.begin(), rules.end(), rule) != rules.end();
}

}  // namespace

bool is_seekable(const VmRoute& route) {
  return std::all_of(route.disks.begin(), route.disks.end(),
                     [](const DiskRoute& disk) { return disk.disk.seekable || disk.disk.blank; });
}

std::shared_ptr<SourceHandle> open_guest_disk(Session& session, ProviderVmHandle& opened,
                                              const VmDescription& vm, const DiskDescription& disk,
                                              Operation& op, std::shared_ptr<ReadCount> read) {
  if (disk.blank) return open_blank_source(disk.capacity_bytes);
  const std::string name = vm.name + "/" + disk.id;
  std::shared_ptr<SourceHandle> delivered = opened.open_disk(op, disk.id, HYPER_OPEN_SEEK);
  if (!delivered->can(HYPER_SOURCE_SEEK))
    throw Error(Code::kUnsupported, name + " was opened as a stream");
  if (read) count_reads(*delivered, std::move(read));
  std::string format = delivered->format().empty() ? disk.format : delivered->format();
  if (format.empty()) format = session.images().detect(*delivered, name, op);
  std::string used;
  return session.images().open(delivered, format, {}, op, used);
}

StructureReport read_structures(Session& session, ProviderVmHandle* vm, const VmRoute& route,
                                const GuestSettings& guest, Operation& op) {
  const auto begin = std::chrono::steady_clock::now();
  StructureReport out;
  const auto read = std::make_shared<ReadCount>();
  uint64_t seen = 0;
  for (const DiskRoute& disk : route.disks) {
    op.cancel().check();
    if (disk.disk.blank || vm == nullptr) {
      out.disks.emplace_back();
      continue;
    }
    out.disks.push_back(
        read_disk(open_guest_disk(session, *vm, route.vm, disk.disk, op, read), op));
    seen += out.disks.back().bytes_read;
  }
  out.bytes_read = read->located ? seen : read->known();
  out.findings = find_in_structures({route.vm, route.disks, guest}, out.disks);
  out.duration = std::chrono::steady_clock::now() - begin;
  return out;
}

void settle(std::vector<VmFinding>& findings, const MigrationConfig& job, PluginRegistry& plugins) {
  const std::vector<std::string>& accepted = job.guest.accept;
  const bool decides = job.guest.wanted || (job.boot.wanted && !job.boot.warn_only);
  for (VmFinding& one : findings) {
    if (one.severity != Severity::kError) continue;
    if (!decides)
      one.severity = Severity::kWarning;
    else
      one.accepted = std::find(accepted.begin(), accepted.end(), one.rule) != accepted.end();
    one.left_to_plugin = leaves_to_plugin(one.rule, job, plugins);
  }
}

void check_structures(VmRun& run, ProviderVmHandle* vm) {
  const MigrationConfig& job = run.job;
  if (vm == nullptr || (!job.guest.wanted && !job.boot.wanted) || !is_seekable(run.route)) return;
  Operation op = run.operation(run.route.vm.name);
  StructureReport seen;
  try {
    seen = read_structures(run.session, vm, run.route, job.guest, op);
  } catch (const Error& failure) {
    run.cancel->check();
    // The copy will say whether the source cannot be read.
    run.inform("the disks' structures could not be looked at", "export", failure.what());
    return;
  }
  settle(seen.findings, job, run.session.registry());
  run.inform("the disks' structures were looked at: " + bytes_text(seen.bytes_read) + " were read",
             "export");
  const VmFinding* refused = nullptr;
  for (const VmFinding& one : seen.findings) {
    run.result.findings.push_back(finding_json(one));
    if (one.left_to_plugin || one.severity == Severity::kInfo) continue;
    if (one.severity == Severity::kError && !one.accepted)
      refused = refused != nullptr ? refused : &one;
    else
      run.notice(one.diagnostic(run.route.vm.name), "export");
  }
  if (refused != nullptr) throw Error(refused->diagnostic(run.route.vm.name));
}

}  // namespace hyperhost
