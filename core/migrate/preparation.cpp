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

/// A later plugin of the list has changed what an earlier one left.
bool is_repaired(const Json& outcomes, std::size_t number, const std::string& rule) {
  for (std::size_t later = number + 1; later < outcomes.size(); ++later)
    for (const Json& action : outcomes[later].value("actions", Json::array()))
      if (text_of(action, "rule") == rule) return true;
  return false;
}

void judge_finding(VmRun& run, const Json& finding) {
  const auto& accept = run.job.guest.accept;
  Diagnostic diagnostic;
  diagnostic.code = Code::kUnsupported;
  diagnostic.path = "vm/" + run.route.vm.name;
  diagnostic.rule = text_of(finding, "rule");
  const std::string summary = text_of(finding, "summary");
  diagnostic.summary =
      "the prepared guest will not boot: " + (summary.empty() ? diagnostic.rule : summary);
  diagnostic.detail = text_of(finding, "evidence");
  diagnostic.hint = text_of(finding, "hint");
  if (std::find(accept.begin(), accept.end(), diagnostic.rule) != accept.end())
    return run.warn(Error(diagnostic), "export");
  diagnostic.hint += (diagnostic.hint.empty() ? "" : " ") + std::string("guest: {accept: [") +
                     diagnostic.rule + "]} delivers it all the same";
  throw Error(diagnostic);
}

/// An error that the preparation has left: the guest will not boot. The first one that the plan
/// does not accept is thrown.
void judge_findings(VmRun& run, const Json& outcomes) {
  for (std::size_t number = 0; number < outcomes.size(); ++number)
    for (const Json& finding : outcomes[number].value("findings", Json::array()))
      if (text_of(finding, "severity") == "error" &&
          !is_repaired(outcomes, number, text_of(finding, "rule")))
        judge_finding(run, finding);
}

using Views = std::vector<std::shared_ptr<Overlay>>;

/// What one plugin did to the views. What it leaves attached ends here.
Json prepared_by(const PluginChoice& plugin, VmRun& run, const Views& views, Operation& op) {
  GuestHandle& guest = run.session.guest(plugin, op);
  std::vector<std::unique_ptr<BlockTable>> tables;
  std::vector<hyper_block> blocks;
  for (std::size_t i = 0; i < views.size(); ++i) {
    tables.push_back(std::make_unique<BlockTable>(run.disks[i]->route().disk.id, views[i], op,
                                                  guest.plugin().user()));
    blocks.push_back(tables.back()->table());
  }
  run.inform("the guest is prepared by " + plugin.plugin, "export");
  return outcome_of(guest.plugin(), guest.prepare(op, guest_request(run.job, run.route), blocks));
}

/// Takes over what an earlier run has prepared. Null: nothing of it can be used.
Json adopt_preparation(VmRun& run, ProviderVmHandle* vm, Operation& op) {
  const auto record = run.resume() == nullptr ? std::nullopt : run.resume()->prepared();
  if (!record) return nullptr;
  const Json views = record->token.value("views", Json::object());
  const bool whole = std::all_of(run.disks.begin(), run.disks.end(), [&](const auto& disk) {
    const auto open = [&] { return open_delivered(run, vm, disk->route(), op); };
    const auto kept = views.find(disk->route().disk.id);
    return kept != views.end() && disk->adopt_view(open, run.route.directory, *kept, op);
  });
  if (whole) {
    run.inform("the guest is as an earlier run has prepared it", "export");
    return record->result.value("outcomes", Json());
  }
  run.inform("the guest is prepared again: what an earlier run kept of it is not there any more",
             "export");
  for (const auto& disk : run.disks) {
    if (const auto written = run.resume()->disk(disk->route().disk.id))
      discard(run.session, run.job, *written, op);
    disk->drop(op, false);
  }
  discard_views(run.session, *record);
  run.resume()->forget_preparation();
  return nullptr;
}

/// Has the plugins prepare the guest on views that are new.
Json prepare_views(VmRun& run, ProviderVmHandle* vm, bool keepable, Operation& op) {
  Views views;
  for (const auto& disk : run.disks) {
    const auto open = [&] { return open_delivered(run, vm, disk->route(), op); };
    views.push_back(disk->open_view(open, run.route.directory, keepable, op));
  }
  Json outcomes = Json::array();
  for (const PluginChoice& plugin : run.job.guest_plugins) {
    outcomes.push_back(prepared_by(plugin, run, views, op));
    run.cancel->check();
  }
  return outcomes;
}

/// For a later run. What cannot be kept costs that run a preparation, and this one nothing.
void keep_views(VmRun& run, const Json& outcomes, Operation& op) {
  Json views = Json::object();
  try {
    for (const auto& disk : run.disks)
      views[disk->route().disk.id] = disk->keep_view(run.route.directory, op);
    run.resume()->prepared(views, outcomes);
  } catch (const Error& failure) {
    run.cancel->check();
    run.inform("a rerun will have to prepare the guest again: " + failure.diagnostic().summary,
               "export");
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
  for (const PluginChoice& plugin : job.guest_plugins) {
    try {
      GuestHandle& guest = check.session.guest(plugin, check.op);
      const Json plan = guest.plan(check.op, guest_request(job, check.route));
      for (const Json& note : plan.value("notes", Json::array())) {
        Diagnostic finding;
        finding.severity = Severity::kInfo;
        finding.code = Code::kOk;
        finding.path = "vm/" + check.route.vm.name;
        finding.summary = plugin.plugin + ": " + bounded(note, 1).get<std::string>();
        check.route.findings.push_back(std::move(finding));
      }
    } catch (const Error& failure) {
      check.keep(failure);
    }
  }
}

void prepare_guest(VmRun& run, ProviderVmHandle* vm) {
  Operation op = run.operation(run.route.vm.name);
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "export"); });
  Json outcomes = adopt_preparation(run, vm, op);
  const bool adopted = outcomes.is_array();
  const bool keepable = run.resume() != nullptr && run.resume()->resumable(kPreparation);
  if (!adopted) outcomes = prepare_views(run, vm, keepable, op);
  uint64_t changed = 0;
  for (const auto& disk : run.disks) {
    disk->take_changes(op);
    changed += disk->result().changed_blocks;
  }
  run.result.guest = outcomes.size() == 1 ? outcomes[0] : Json{{"plugins", outcomes}};
  judge_findings(run, outcomes);
  if (keepable && !adopted) keep_views(run, outcomes, op);
  run.inform("the guest is prepared: " + std::to_string(changed) + " blocks of 1 MiB are changed",
             "export");
  for (const auto& disk : run.disks) disk->adopt(op);
}

}  // namespace hyperhost
