// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/boot_traces.hpp"

#include <algorithm>
#include <set>

#include "core/base/json_text.hpp"
#include "core/block/block_table.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

Json request_of(const MigrationConfig& job, const VmRoute& route) {
  return {{"vm", route.vm.document},
          {"machine", machine_of(job.boot.machine, job.target, route)},
          {"traces", true}};
}

/// The elements of a list that another one has not.
std::vector<Json> added(const Json& before, const Json& after, const char* list, const char* id) {
  const auto key = [id](const Json& one) {
    return id == nullptr ? one.get<std::string>() : text_of(one, id);
  };
  std::set<std::string> known;
  for (const Json& one : before.value(list, Json::array())) known.insert(key(one));
  std::vector<Json> out;
  for (const Json& one : after.value(list, Json::array()))
    if (known.insert(key(one)).second) out.push_back(one);
  return out;
}

}  // namespace

void check_traces(VmCheck& check) {
  const PluginChoice& reader = check.job.traces_plugin;
  try {
    const Json plan =
        check.session.guest(reader, check.op).plan(check.op, request_of(check.job, check.route));
    const auto able = plan.find("traces");
    if (able == plan.end() || *able != true)
      throw Error(Code::kUnsupported,
                  "plugin '" + reader.plugin + "' does not read what a boot leaves in a guest", "",
                  "boot: {traces: {plugin: …}} names one that does, or require: login");
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.path = "boot/traces/" + reader.plugin;
    check.route.findings.push_back(std::move(diagnostic));
  }
}

Json read_traces(VmRun& run, const std::vector<std::shared_ptr<BlockDevice>>& disks) {
  Operation op = run.operation(run.route.vm.name);
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "boot"); });
  std::vector<std::unique_ptr<BlockTable>> tables;
  std::vector<hyper_block> blocks;
  GuestHandle& guest = run.session.guest(run.job.traces_plugin, op);
  for (std::size_t i = 0; i < disks.size(); ++i) {
    tables.push_back(std::make_unique<BlockTable>(run.route.disks[i].disk.id, disks[i], op,
                                                  guest.plugin().user()));
    blocks.push_back(tables.back()->table());
  }
  const std::string& plugin = run.job.traces_plugin.plugin;
  Json answer = guest.inspect(op, request_of(run.job, run.route), blocks);
  if (!answer.contains("traces") || !answer["traces"].is_object())
    throw Error(Code::kFail,
                "plugin '" + plugin + "' did not read the traces that its plan offers");
  return answer["traces"];
}

void add_traces(const Json& before, const Json& after, uint64_t ms, Json& answer) {
  if (!answer["reached"].is_array()) answer["reached"] = Json::array();
  if (!answer["notes"].is_array()) answer["notes"] = Json::array();
  for (Json& note : added(before, after, "notes", nullptr)) answer["notes"].push_back(note);
  const std::vector<Json> boots = added(before, after, "boots", "id");
  for (const Json& boot : boots)
    answer["reached"].push_back(
        {{"grade", "traces"}, {"ms", ms}, {"evidence", text_of(boot, "evidence")}});
  if (!boots.empty()) {
    answer["grade"] = "traces";
    return;
  }
  const std::size_t known = after.value("boots", Json::array()).size();
  answer["failed"] = "no-traces";
  answer["failure"] = known == 0 ? "its disks hold no record of any boot"
                                 : "its records name " + std::to_string(known) +
                                       " boots, all of them from before the check";
}

}  // namespace hyperhost
