// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/plan_route.hpp"

#include <hyper/provider.h>

#include <algorithm>

#include "core/base/file_name.hpp"
#include "core/base/random_id.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/prediction.hpp"
#include "core/migrate/resume_log.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/migrate/vm_stage.hpp"
#include "core/plugin/answer_limit.hpp"

namespace hyperhost {
namespace {

Diagnostic finding(Severity severity, Code code, std::string path, std::string summary,
                   std::string hint = {}) {
  Diagnostic out;
  out.severity = severity;
  out.code = code;
  out.path = std::move(path);
  out.summary = std::move(summary);
  out.hint = std::move(hint);
  return out;
}

nlohmann::json convert_request(const MigrationConfig& config, const DiskDescription& disk) {
  using nlohmann::json;
  const ConvertOptions& options = config.convert_options;
  json target = {{"format", config.target_format},
                 {"compression", compression_name(options.compression)},
                 {"deterministic", options.deterministic},
                 {"durability", durability_name(config.durability)}};
  if (options.compression_level) target["compression_level"] = *options.compression_level;
  if (options.cluster_size) target["cluster_size"] = *options.cluster_size;
  json access = json::array();
  if (disk.seekable || disk.blank) access.push_back("seek");
  if (disk.streamable) access.push_back("stream");
  if (disk.local_file) access.push_back("file");
  json request = {{"source",
                   {{"format", disk.blank ? "raw" : disk.format},
                    {"length", disk.source_bytes ? json(*disk.source_bytes) : json(nullptr)},
                    {"access", access}}},
                  {"target", target},
                  {"digest", config.digest || config.verify_export != Verify::kNone}};
  if (disk.capacity_bytes != 0) request["virtual_size"] = disk.capacity_bytes;
  return request;
}

/// The key of the plan that a member of the conversion request came from; "" if none did.
std::string plan_key(const std::string& member, const MigrationConfig& config) {
  if (member == "/target/format") return config.pointer + "/target_format";
  for (const char* key :
       {"compression", "compression_level", "cluster_size", "deterministic", "durability"})
    if (member == std::string("/target/") + key) return config.pointer + "/" + key;
  return {};
}

bool contains(const nlohmann::json& list, const std::string& text) {
  return list.is_array() && std::find(list.begin(), list.end(), text) != list.end();
}

/// The first way to write that the converter and the store have in common; "" if none.
std::string common_sink(const nlohmann::json& converter_plan, const nlohmann::json& store_info) {
  for (const auto& kind : converter_plan.value("sink", nlohmann::json::array()))
    if (kind.is_string() &&
        contains(store_info.value("sink", nlohmann::json::array()), kind.get<std::string>()))
      return kind.get<std::string>();
  return {};
}

/// Decides how the converter gets at the source's bytes.
void choose_source(DiskRoute& route, const std::string& need, const std::string& converter) {
  const DiskDescription& disk = route.disk;
  if (route.prepared) {
    route.staged = !disk.seekable && !disk.blank;
    route.open_flags = route.staged ? HYPER_OPEN_STREAM : HYPER_OPEN_SEEK;
    route.why =
        (route.staged ? "staged, since a preparation needs to seek and the source is a stream; "
                      : "") +
        std::string("prepared before the copy, one pass through ") + converter +
        (route.needs_file ? ", which gets a raw file" : "");
  } else if (!route.decoder.empty()) {
    route.staged = !disk.seekable;
    route.open_flags = disk.seekable ? HYPER_OPEN_SEEK : HYPER_OPEN_STREAM;
    route.why = (route.staged ? "staged, then read by " : "read by ") + route.decoder + " as " +
                disk.format + ", one pass through " + converter +
                (route.needs_file ? ", which gets a raw file" : "");
  } else if (need == "file" && (!disk.local_file || disk.blank)) {
    route.staged = true;
    route.open_flags = disk.seekable ? HYPER_OPEN_SEEK : HYPER_OPEN_STREAM;
    route.why = disk.blank ? "blank disk: an empty file is made for " + converter
                           : "staged: " + converter + " needs a file and the source is none";
  } else if (need == "file") {
    route.in_place = true;
    route.open_flags = HYPER_OPEN_SEEK;
    route.why = "read in place by " + converter + ", no staging";
  } else if (disk.seekable || disk.blank) {
    route.open_flags = HYPER_OPEN_SEEK;
    route.why = "one pass through " + converter + " (seekable source), no staging";
  } else if (need == "stream") {
    route.open_flags = HYPER_OPEN_STREAM;
    route.why = "one pass through " + converter + " (forward stream), no staging";
  } else {
    route.staged = true;
    route.open_flags = HYPER_OPEN_STREAM;
    route.why = "staged: " + converter + " needs to seek in " +
                (disk.format.empty() ? "this source" : disk.format) + " and the source is a stream";
  }
}

}  // namespace

nlohmann::json plan_conversion(Session& session, const MigrationConfig& config, DiskRoute& route,
                               Operation& op) {
  DiskDescription seen = route.disk;  // by the converter
  route.decoder = seen.blank ? std::string()
                             : session.images().decoder_for(config.converter.plugin, seen.format);
  route.prepared = config.guest.wanted;
  if (!route.decoder.empty() || route.prepared) {
    seen.format = "raw";
    seen.source_bytes.reset();
    seen.seekable = true;
    seen.streamable = seen.local_file = false;
  }
  route.request = convert_request(config, seen);
  nlohmann::json plan = session.converter(config.converter, op).plan(op, route.request);
  for (const auto& note : plan.value("notes", nlohmann::json::array()))
    if (note.is_string()) route.notes.push_back(note.get<std::string>());
  route.digest_in_pass = plan.value("digest", false);
  const std::string need = plan.value("source", "file");
  route.needs_file = need == "file";
  route.need = route.decoder.empty() && !route.prepared ? need : "seek";
  choose_source(route, need, config.converter.plugin);
  return plan;
}

namespace {

/// Unless the provider's preflight said the same.
void tell(VmRoute& route, Severity severity, const std::string& text) {
  for (const Diagnostic& said : route.findings)
    if (said.summary == text) return;
  route.findings.push_back(finding(severity, Code::kOk, "vm/" + route.vm.name, text));
}

std::string disk_names(const VmDescription& vm) {
  std::string names = "it has";
  for (const DiskDescription& disk : vm.disks) names += " " + disk.id;
  return names;
}

DiskRoute route_of(const VmCheck& check, const DiskDescription& disk) {
  const FormatCatalog& formats = check.session.images().formats();
  DiskRoute route;
  route.disk = disk;
  route.converted = check.job.enable_conversion;
  route.target_format = route.converted                     ? check.job.target_format
                        : disk.blank || disk.format.empty() ? "raw"
                                                            : formats.canonical(disk.format);
  route.file_name = check.route.stem + "-" + disk.id + formats.extension(route.target_format);
  route.key = check.route.stem + "/" + route.file_name;
  if (!check.job.output_file.empty()) route.key = route.file_name = check.job.output_file;
  return route;
}

void select_disks(VmCheck& check) {
  const auto& disks = check.route.vm.disks;
  for (const auto* list : {&check.job.disks.include, &check.job.disks.exclude})
    for (const std::string& id : *list)
      if (std::none_of(disks.begin(), disks.end(), [&](const auto& disk) { return disk.id == id; }))
        check.error(Code::kConfig, "", "the VM has no disk '" + id + "'",
                    disk_names(check.route.vm));
  for (const DiskDescription& disk : disks)
    if (check.job.disks.selects(disk.id)) check.route.disks.push_back(route_of(check, disk));
  if (!check.job.output_file.empty() && check.route.disks.size() > 1)
    check.error(Code::kConfig, "", "the VM has several disks, and one file is to hold them",
                disk_names(check.route.vm));
  if (check.route.disks.empty())
    check.error(Code::kConfig, "", "the VM '" + check.route.vm.name + "' has no disk to migrate");
}

/// The converter may write straight into the store, so that no local file is needed.
bool local_is_optional(const MigrationConfig& job) {
  return !job.keep_local && job.upload_to_cloud && job.enable_conversion && !job.boot.wanted;
}

void ask_places(VmCheck& check) {
  const MigrationConfig& job = check.job;
  try {
    check.local = check.session.local_storage(job.output_dir, check.op).info(check.op);
  } catch (const Error& failure) {
    if (!local_is_optional(job)) check.keep(failure);
  }
  if (!job.upload_to_cloud) return;
  try {
    check.remote = check.session.storage(job.storage, check.op).info(check.op);
  } catch (const Error& failure) {
    check.keep(failure);
  }
}

/// Keeps a failure as a finding of the plan's key rather than of the VM.
template <class F>
bool works(VmCheck& check, const std::string& path, F&& f) {
  try {
    f();
    return true;
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.path = path;
    check.route.findings.push_back(std::move(diagnostic));
    return false;
  }
}

void plan_disk(VmCheck& check, DiskRoute& route) {
  const MigrationConfig& job = check.job;
  if (!route.converted) {
    route.open_flags = route.disk.seekable ? HYPER_OPEN_SEEK : HYPER_OPEN_STREAM;
    route.why = "copied as delivered";
    return;
  }
  nlohmann::json plan;
  try {
    plan = plan_conversion(check.session, job, route, check.op);
  } catch (const Error& failure) {
    // A converter names members of its request, which only the host has seen.
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.path = plan_key(diagnostic.path, job);
    check.keep(Error(std::move(diagnostic)), route.disk.id);
    return;
  }
  const std::string& converter = job.converter.plugin;
  if (!job.keep_local && !job.boot.wanted && !check.remote.is_null() &&
      !common_sink(plan, check.remote).empty()) {
    route.direct_upload = true;
    route.why += ", written straight into " + job.storage.plugin;
  } else if (!check.local.is_null() && common_sink(plan, check.local).empty()) {
    check.error(Code::kUnsupported, route.disk.id,
                "converter '" + converter + "' cannot write to local files");
  } else if (check.local.is_null() && local_is_optional(job)) {
    check.error(Code::kUnsupported, route.disk.id,
                "converter '" + converter + "' cannot write " + route.target_format +
                    " straight into " + job.storage.plugin +
                    " and output_dir cannot be written to");
  }
}

/// What an earlier run of the plan finished is not done again.
void check_finished(VmCheck& check) {
  VmRoute& route = check.route;
  const auto record = route.resume->vm();
  if (!record || record->phase != "finished") return;
  bool missing = false;
  std::string why;
  try {
    why = route.resume->check_artifacts(check.session, check.op, missing);
  } catch (const Error& failure) {
    why = failure.what();
  } catch (const nlohmann::json::exception& failure) {
    why = std::string("the record is damaged: ") + failure.what();
  }
  const MigrationConfig& job = check.job;
  if (why.empty()) {
    route.finished =
        !job.overwrite || (job.continues_since != 0 &&
                           record->result.value("finished_at", int64_t{0}) >= job.continues_since);
  } else if (!missing && !job.overwrite) {
    check.error(Code::kExists, "", "an earlier run finished this VM, but " + why,
                "remove its files, or set overwrite: true");
    check.settled = true;
  }
  check.settled = check.settled || route.finished;
}

std::string provider_name(const MigrationConfig& job) {
  return "provider '" + job.provider + "'";
}

/// The provider's own findings, of the disks that are migrated.
void ask_provider(VmCheck& check, ProviderHandle& provider) {
  VmRoute& route = check.route;
  std::vector<Diagnostic> reported;
  // No task has begun, and a request names one.
  const std::string task =
      check.job.task_id.empty() ? "preflight-" + random_id() : check.job.task_id;
  try {
    within(check.session.services().answer_timeout, provider_name(check.job), check.op,
           [&](Operation& op) {
             const std::shared_ptr<void> kept(nullptr, [&](void*) { reported = op.diagnostics(); });
             provider.preflight(op, vm_request(check.job, route.vm.ref, task));
           });
  } catch (const Error& failure) {
    if (std::none_of(reported.begin(), reported.end(), [&](const Diagnostic& one) {
          return one.summary == failure.diagnostic().summary;
        }))
      route.findings.push_back(failure.diagnostic());
  }
  route.findings.insert(route.findings.end(), reported.begin(), reported.end());
  const std::string disks = "vm/" + route.vm.name + "/disk/";
  std::erase_if(route.findings, [&](const Diagnostic& one) {
    return one.path.starts_with(disks) && !check.job.disks.selects(one.path.substr(disks.size()));
  });
}

}  // namespace

void plan_disks(VmCheck& check) {
  const MigrationConfig& job = check.job;
  if (job.enable_conversion && job.verify_export >= Verify::kIndependent)
    works(check, std::string("verify: ") + verify_name(job.verify_export), [&] {
      check.session.images().require_independent(job.converter.plugin, job.target_format, check.op);
    });
  // A converter that cannot start at all is one finding, not one for each disk.
  if (!job.enable_conversion || works(check, "converter/" + job.converter.plugin,
                                      [&] { check.session.converter(job.converter, check.op); }))
    for (DiskRoute& route : check.route.disks) plan_disk(check, route);
  check.route.resume = ResumeLog::open(job, check.route, check.session);
  if (check.route.resume && !job.fresh) check_finished(check);
}

VmRoute plan_route(Session& session, const MigrationConfig& job, Operation& op) {
  VmRoute route;
  ProviderHandle* provider = nullptr;
  within(session.services().answer_timeout, provider_name(job), op, [&](Operation& limited) {
    provider = &session.provider(job.provider, limited);
    route.vm = parse_vm_description(
        provider->describe_vm(limited, job.vm_ref.empty() ? job.vm_name : job.vm_ref),
        provider->plugin().id());
  });
  route.stem = safe_file_name(job.output_name.empty() ? route.vm.name : job.output_name);
  route.directory = job.output_file.empty() ? job.output_dir / route.stem : job.output_dir;
  VmCheck check{session, job, op, route};
  ask_provider(check, *provider);
  select_disks(check);
  ask_places(check);
  for (const auto& stage : stages_of(session.stages(), job)) {
    stage->check(check);
    if (check.settled) return route;
  }
  check_prediction(check);
  for (const std::string& text : route.vm.warnings) tell(route, Severity::kWarning, text);
  for (const std::string& text : route.vm.notes) tell(route, Severity::kInfo, text);
  return route;
}

}  // namespace hyperhost
