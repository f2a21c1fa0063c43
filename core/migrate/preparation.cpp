// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/preparation.hpp"

#include <algorithm>

#include "core/base/json_text.hpp"
#include "core/base/text.hpp"
#include "core/block/block_table.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostEntries = 10'000;  // of a list in the plugin's answer
constexpr std::size_t kMostText = 4096;

Json guest_request(const MigrationConfig& job, const VmRoute& route) {
  return {{"vm", route.vm.document}, {"machine", machine_of(job.guest.machine, job.target, route)}};
}

/// A member of the plugin's answer, which repeats what stands in the guest: of bounded size, its
/// texts without control characters.
Json bounded(const Json& value, int depth) {
  if (value.is_string()) {
    std::string out;
    for (const char c : value.get_ref<const std::string&>())
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
    out.resize(std::min(out.size(), kMostText));
    out.resize(std::min(out.size(), find_invalid_utf8(out)));  // a character that was cut
    return out;
  }
  if (depth == 0 || (!value.is_structured() && !value.is_primitive())) return nullptr;
  if (value.is_primitive()) return value;
  Json out = value.is_array() ? Json::array() : Json::object();
  for (const auto& [name, member] : value.items()) {
    if (out.size() >= kMostEntries) break;
    if (value.is_array())
      out.push_back(bounded(member, depth - 1));
    else
      out[bounded(name, 1).get<std::string>()] = bounded(member, depth - 1);
  }
  return out;
}

Json outcome_of(const Plugin& plugin, const Json& answer) {
  Json out = {{"plugin", plugin.id()}, {"version", plugin.version()}};
  for (const char* name : {"actions", "files", "caps", "root", "distro", "findings"})
    if (answer.contains(name)) out[name] = bounded(answer[name], 4);
  return out;
}

/// An error that the preparation has left: the guest will not boot. The first one that the plan
/// does not accept is thrown.
void judge_findings(VmRun& run, const Json& outcome) {
  const auto& accept = run.job.guest.accept;
  for (const Json& finding : outcome.value("findings", Json::array())) {
    if (text_of(finding, "severity") != "error") continue;
    Diagnostic diagnostic;
    diagnostic.code = Code::kUnsupported;
    diagnostic.path = "vm/" + run.route.vm.name;
    diagnostic.rule = text_of(finding, "rule");
    const std::string summary = text_of(finding, "summary");
    diagnostic.summary =
        "the prepared guest will not boot: " + (summary.empty() ? diagnostic.rule : summary);
    diagnostic.detail = text_of(finding, "evidence");
    diagnostic.hint = text_of(finding, "hint");
    if (std::find(accept.begin(), accept.end(), diagnostic.rule) != accept.end()) {
      run.warn(Error(diagnostic), "export");
      continue;
    }
    diagnostic.hint += (diagnostic.hint.empty() ? "" : " ") + std::string("guest: {accept: [") +
                       diagnostic.rule + "]} delivers it all the same";
    throw Error(diagnostic);
  }
}

}  // namespace

void check_preparation(VmCheck& check) {
  const MigrationConfig& job = check.job;
  if (!job.enable_conversion)
    check.error(Code::kUnsupported, "", "a guest is prepared while its disks are converted",
                "leave convert: false out, or say guest: false");
  if (job.convert_options.compression == Compression::kKeep)
    check.error(Code::kUnsupported, "", "compression: keep keeps the grains of the source",
                "what a preparation changes has none; choose another compression");
  try {
    GuestHandle& guest = check.session.guest(job.guest_plugin, check.op);
    const Json plan = guest.plan(check.op, guest_request(job, check.route));
    for (const Json& note : plan.value("notes", Json::array())) {
      Diagnostic finding;
      finding.severity = Severity::kInfo;
      finding.code = Code::kOk;
      finding.path = "vm/" + check.route.vm.name;
      finding.summary = job.guest_plugin.plugin + ": " + bounded(note, 1).get<std::string>();
      check.route.findings.push_back(std::move(finding));
    }
  } catch (const Error& failure) {
    check.keep(failure);
  }
}

void prepare_guest(VmRun& run, ProviderVmHandle* vm) {
  const std::string& plugin = run.job.guest_plugin.plugin;
  Operation op = run.operation(run.route.vm.name);
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "export"); });
  std::vector<std::unique_ptr<BlockTable>> tables;
  std::vector<hyper_block> blocks;
  for (const auto& disk : run.disks) {
    const DiskRoute& route = disk->route();
    const auto open = [&] { return open_delivered(run, vm, route, op); };
    std::shared_ptr<Overlay> view = disk->open_view(open, run.route.directory, op);
    tables.push_back(std::make_unique<BlockTable>(route.disk.id, std::move(view), op));
    blocks.push_back(tables.back()->table());
  }
  run.inform("the guest is prepared by " + plugin, "export");
  GuestHandle& guest = run.session.guest(run.job.guest_plugin, op);
  const Json answer = guest.prepare(op, guest_request(run.job, run.route), blocks);
  tables.clear();  // what the plugin left attached ends here
  run.cancel->check();
  uint64_t changed = 0;
  for (const auto& disk : run.disks) {
    disk->take_changes(op);
    changed += disk->result().changed_blocks;
  }
  run.result.guest = outcome_of(guest.plugin(), answer);
  judge_findings(run, run.result.guest);
  run.inform("the guest is prepared: " + std::to_string(changed) + " blocks of 1 MiB are changed",
             "export");
}

}  // namespace hyperhost
