// SPDX-License-Identifier: Apache-2.0
// The VM at its target: the finished disks go there and are compared, then the machine is defined,
// and started only where the plan asks for it. What a target answers as files is written where the
// manifest goes.
#include <algorithm>
#include <set>

#include "core/base/json_text.hpp"
#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/target_disks.hpp"
#include "core/migrate/target_request.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

class Define final : public VmStage {
 public:
  void check(VmCheck& check) override;
  void run(VmRun& run) override;

 private:
  static void check_machine(VmCheck& check, TargetHandle& target, const Json& info);
  static void check_names(VmCheck& check, const Json& info, const Json& machine);
  static void check_files(VmCheck& check, const Json& plan);
  static void define(VmRun& run);
  static bool write_file(VmRun& run, AtTarget& at_target, const Json& file);
  static void start(VmRun& run, TargetHandle& target, const std::string& ref);
};

void found(VmCheck& check, const char* rule, Severity severity, std::string summary,
           std::string hint = {}) {
  Diagnostic finding;
  finding.severity = severity;
  finding.code = severity == Severity::kError ? Code::kConfig : Code::kOk;
  finding.path = "vm/" + check.route.vm.name;
  finding.rule = rule;
  finding.summary = std::move(summary);
  finding.hint = std::move(hint);
  check.route.findings.push_back(std::move(finding));
}

/// Without the key, files are written from which the VM can be made. A plugin that would bring
/// disks to a platform is asked for.
bool is_of_files(const Json& info) {
  const Json ways = info.value("disks", Json::array());
  return !ways.empty() && ways[0] == "place";
}

void Define::check(VmCheck& check) {
  const std::size_t before = check.route.findings.size();
  const std::string& plugin = check.job.target_plugin.plugin;
  try {
    TargetHandle& target = check.session.target(check.job.target_plugin, check.op);
    check_machine(check, target, target.info(check.op));
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty()) diagnostic.path = "target/" + plugin;
    check.route.findings.push_back(std::move(diagnostic));
  }
  if (!check.job.target.by_default) return;
  // The plan asks for disks, and those can be had.
  for (std::size_t i = before; i < check.route.findings.size(); ++i)
    if (Diagnostic& one = check.route.findings[i]; one.severity == Severity::kError)
      one.severity = Severity::kWarning;
}

void Define::check_machine(VmCheck& check, TargetHandle& target, const Json& info) {
  const MigrationConfig& job = check.job;
  if (job.target.by_default && !is_of_files(info)) return;
  const Json formats = info.value("formats", Json());
  for (const DiskRoute& disk : check.route.disks)
    if (formats.is_array() &&
        std::find(formats.begin(), formats.end(), disk.target_format) == formats.end())
      found(check, "target.format", Severity::kError,
            "the target takes no disks of the format " + disk.target_format,
            "it takes " + formats.dump());
  static_cast<void>(way_of_disks(info, target.plugin().id(), !job.upload_to_cloud || job.keep_local,
                                 job.upload_to_cloud && job.presign.count() != 0));
  const Json request = target_request(job, check.route, nullptr);
  check_names(check, info, request["machine"]);
  const Json plan = target.plan(check.op, request);
  for (const Json& one : plan.value("findings", Json::array())) {
    const std::string severity = text_of(one, "severity");
    found(check, text_of(one, "rule").c_str(),
          severity == "error"     ? Severity::kError
          : severity == "warning" ? Severity::kWarning
                                  : Severity::kInfo,
          text_of(one, "summary"), text_of(one, "hint"));
  }
  check_files(check, plan);
  if (job.target.start) {
    const Json can = info.value("can", Json::array());
    if (std::find(can.begin(), can.end(), "start") == can.end())
      found(check, "target.start", Severity::kError, "this target starts no machines",
            "leave target: {start: true} out");
  }
}

/// Before the copy: every network and storage has its place at the target.
void Define::check_names(VmCheck& check, const Json& info, const Json& machine) {
  const auto list = [](const Json& names) {
    std::string out;
    for (const Json& one : names)
      out += (out.empty() ? "" : ", ") +
             (one.is_string() ? one.get<std::string>() : text_of(one, "name"));
    return out;
  };
  const Json networks = info.value("networks", Json());
  std::set<std::string> said;
  for (const Json& nic : machine["nics"]) {
    const std::string from = text_of(nic, "network"), to = text_of(nic, "target_network");
    if (!said.insert(from).second) continue;
    if (to.empty() && info.value("needs_networks", false))
      found(check, "target.network", Severity::kError,
            "the plan names no network of the target for '" + from + "'",
            "target: {networks: {\"" + from + "\": NAME}}" +
                (networks.is_array() ? "; it has " + list(networks) : ""));
    else if (!to.empty() && networks.is_array() &&
             std::find(networks.begin(), networks.end(), to) == networks.end())
      found(check, "target.network", Severity::kError, "the target has no network '" + to + "'",
            "it has " + list(networks));
  }
  const Json storages = info.value("storages", Json());
  if (!storages.is_array()) return;
  for (const Json& disk : machine["disks"]) {
    const std::string to = text_of(disk, "storage");
    if (!to.empty() && said.insert("storage " + to).second &&
        std::none_of(storages.begin(), storages.end(),
                     [&](const Json& one) { return text_of(one, "name") == to; }))
      found(check, "target.storage", Severity::kError, "the target has no storage '" + to + "'",
            "it has " + list(storages));
  }
}

void Define::check_files(VmCheck& check, const Json& plan) {
  const MigrationConfig& job = check.job;
  const Json known = earlier_at_target(check.route.resume.get(), job);
  // Without the key it is a warning, and the file is left out.
  const std::string what =
      job.target.by_default ? "it exists and stays as it is: " : "target exists: ";
  try {
    for (const Json& name : plan.value("files", Json::array())) {
      if (has_written(known, name.get<std::string>())) continue;
      const std::string key = check.route.stem + "/" + name.get<std::string>();
      const bool here =
          (!job.upload_to_cloud || job.keep_local) && !job.overwrite && !check.local.is_null() &&
          !check.session.local_storage(job.output_dir, check.op).stat(check.op, key).is_null();
      const bool there =
          job.upload_to_cloud && !job.upload_overwrite && !check.remote.is_null() &&
          !check.session.storage(job.storage, check.op).stat(check.op, key).is_null();
      if (here)
        check.error(Code::kExists, "", what + (job.output_dir / key).string(),
                    "remove it, choose another output_dir, or set overwrite: true");
      if (there)
        check.error(Code::kExists, "", what + key + " at " + job.cloud_destination,
                    "remove it, choose another destination, or set upload: {overwrite: true}");
    }
  } catch (const Error& failure) {
    check.keep(failure);
  }
}

/// As the manifest: into the store, and here where files are kept here. False: there is another
/// file of that name, and the plan does not ask for this one.
bool Define::write_file(VmRun& run, AtTarget& at_target, const Json& file) {
  run.cancel->check();
  const std::string name = text_of(file, "name"), text = text_of(file, "text");
  const std::string key = run.route.stem + "/" + name;
  const bool taken = key == run.manifest_key() ||
                     std::any_of(run.route.disks.begin(), run.route.disks.end(),
                                 [&](const DiskRoute& disk) { return disk.key == key; });
  if (taken)
    throw Error(Code::kFail, "the target's file '" + name + "' has the name of another file");
  const bool own = at_target.has_written(name);
  const bool replaces_there = run.job.upload_overwrite || own;
  const bool replaces_here = run.job.overwrite || own;
  const std::string type = text_of(file, "content_type");
  const auto put = [&](StorageHandle& store, bool replaces, bool adopt, const char* durability) {
    const UploadOptions options{replaces,
                                adopt,
                                durability,
                                {},
                                [&] { run.undo_object(store, key); },
                                type.empty() ? "text/plain" : type};
    return CloudStorageManager(store).upload_text(text, key, options, run.op).location;
  };
  try {
    // What is noted is this VM's own, and may be replaced by a later run.
    const bool here = run.keeps_local_files() && !replaces_here;
    if (here && !run.local().stat(run.op, key).is_null())
      throw Error(Code::kExists, "target exists: " + (run.job.output_dir / key).string());
    if (run.job.upload_to_cloud)
      run.result.uploaded_files.push_back(put(run.store(), replaces_there, true, "file"));
    at_target.writes(name);
    if (run.keeps_local_files())
      put(run.local(), replaces_here, false, durability_name(run.job.durability));
  } catch (const Error& failure) {
    if (failure.code() != Code::kExists || !run.job.target.by_default) throw;
    return false;
  }
  return true;
}

/// Source and copy are never both on the network with one address.
void Define::start(VmRun& run, TargetHandle& target, const std::string& ref) {
  const VmDescription& vm = run.route.vm;
  if (vm.power_state == "on" && !vm.nics.empty()) {
    run.warn(Error(Code::kBusy, "the machine is defined and not started: its source still runs",
                   "both would be on the network with the same addresses",
                   "stop the source, then start the machine at its target"),
             "export");
    return;
  }
  target.start(run.op, ref);
  run.result.target["started"] = true;
}

void Define::run(VmRun& run) {
  run.cancel->check();
  if (!run.job.target.by_default) return define(run);
  try {
    define(run);
  } catch (const Error& failure) {  // the disks are finished all the same
    run.cancel->check();
    run.warn(failure, "export");
  }
}

void Define::define(VmRun& run) {
  TargetHandle& target = run.session.target(run.job.target_plugin, run.op);
  const Json info = target.info(run.op);
  if (run.job.target.by_default && !is_of_files(info)) return;
  AtTarget at_target(run, target, info);
  const Json disks = at_target.bring_disks();
  run.cancel->check();
  Json request = target_request(run.job, run.route, &run.result);
  for (Json& disk : request["disks"])
    if (const auto made = disks.find(text_of(disk, "id")); made != disks.end())
      disk["ref"] = text_of(*made, "ref");
  Operation op = run.operation(run.route.vm.name);
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "export"); });
  const Json answer = target.define(op, request);
  const std::string ref = text_of(answer, "ref");
  at_target.defined(ref);
  Json& out = run.result.target;
  out = {{"plugin", target.plugin().id()},
         {"version", target.plugin().version()},
         {"name", text_of(answer, "name")},
         {"ref", ref},
         {"location", text_of(answer, "location").empty() ? text_of(info, "location")
                                                          : text_of(answer, "location")},
         {"files", Json::array()},
         {"started", false}};
  if (!disks.empty()) out["disks"] = disks;
  for (const Json& file : answer.value("files", Json::array())) {
    if (write_file(run, at_target, file)) out["files"].push_back(text_of(file, "name"));
  }
  for (const Json& note : answer.value("notes", Json::array()))
    run.inform("target: " + note.get<std::string>(), "export");
  if (run.job.target.start) start(run, target, ref);
}

}  // namespace

std::unique_ptr<VmStage> define_stage() {
  return std::make_unique<Define>();
}

}  // namespace hyperhost
