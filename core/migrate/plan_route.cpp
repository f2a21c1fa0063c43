// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/plan_route.hpp"

#include <hyper/provider.h>

#include <algorithm>

#include "core/base/file_name.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/resume_log.hpp"

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
                  {"digest", config.verify_export != Verify::kNone}};
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
  if (!route.decoder.empty()) {
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
  if (!route.decoder.empty()) {
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
  choose_source(route, need, config.converter.plugin);
  return plan;
}

namespace {

class RoutePlanner {
 public:
  RoutePlanner(Session& session, const MigrationConfig& config, Operation& op, VmRoute& out)
      : session_(session), config_(config), op_(op), out_(out) {}

  void run() {
    select_disks();
    if (out_.disks.empty())
      error(Code::kConfig, "", "the VM '" + out_.vm.name + "' has no disk to migrate");
    const nlohmann::json local = local_info();
    const nlohmann::json remote = remote_info();
    check_verifier();
    if (converter_starts())
      for (DiskRoute& route : out_.disks) plan_disk(route, local, remote);
    out_.resume = ResumeLog::open(config_, out_, session_);
    if (out_.resume && !config_.fresh && !check_finished()) return;
    if (!local.is_null()) check_targets();
    if (!remote.is_null()) check_remote_targets();
    check_space(local);
    for (const std::string& text : out_.vm.warnings) tell(Severity::kWarning, text);
    for (const std::string& text : out_.vm.notes) tell(Severity::kInfo, text);
  }

 private:
  void error(Code code, const std::string& disk, std::string summary, std::string hint = {}) {
    out_.findings.push_back(finding(Severity::kError, code,
                                    "vm/" + out_.vm.name + (disk.empty() ? "" : "/disk/" + disk),
                                    std::move(summary), std::move(hint)));
  }
  /// Unless the provider's preflight said the same.
  void tell(Severity severity, const std::string& text) {
    for (const Diagnostic& said : out_.findings)
      if (said.summary == text) return;
    out_.findings.push_back(finding(severity, Code::kOk, "vm/" + out_.vm.name, text));
  }
  void keep(const Error& failure, const std::string& disk) {
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty())
      diagnostic.path = "vm/" + out_.vm.name + (disk.empty() ? "" : "/disk/" + disk);
    out_.findings.push_back(std::move(diagnostic));
  }

  void select_disks() {
    const auto known = [&](const std::string& id) {
      return std::any_of(out_.vm.disks.begin(), out_.vm.disks.end(),
                         [&](const auto& disk) { return disk.id == id; });
    };
    for (const auto* list : {&config_.disks.include, &config_.disks.exclude})
      for (const std::string& id : *list)
        if (!known(id)) error(Code::kConfig, "", "the VM has no disk '" + id + "'", disk_names());
    for (const DiskDescription& disk : out_.vm.disks)
      if (config_.disks.selects(disk.id)) out_.disks.push_back(made_of(disk));
  }

  std::string disk_names() const {
    std::string names = "it has";
    for (const DiskDescription& disk : out_.vm.disks) names += " " + disk.id;
    return names;
  }

  DiskRoute made_of(const DiskDescription& disk) const {
    const FormatCatalog& formats = session_.images().formats();
    DiskRoute route;
    route.disk = disk;
    route.converted = config_.enable_conversion;
    route.target_format = route.converted                     ? config_.target_format
                          : disk.blank || disk.format.empty() ? "raw"
                                                              : formats.canonical(disk.format);
    route.file_name = out_.stem + "-" + disk.id + formats.extension(route.target_format);
    route.key = out_.stem + "/" + route.file_name;
    return route;
  }

  /// A converter that cannot start at all is one finding, not one for each disk.
  bool converter_starts() {
    if (!config_.enable_conversion) return true;
    try {
      session_.converter(config_.converter, op_);
      return true;
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.path = "converter/" + config_.converter.plugin;
      out_.findings.push_back(std::move(diagnostic));
      return false;
    }
  }

  void check_verifier() {
    if (!config_.enable_conversion || config_.verify_export != Verify::kIndependent) return;
    try {
      session_.images().require_independent(config_.converter.plugin, config_.target_format, op_);
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.path = "verify: independent";
      out_.findings.push_back(std::move(diagnostic));
    }
  }

  nlohmann::json local_info() {
    if (!config_.keep_local && config_.upload_to_cloud && config_.enable_conversion)
      local_optional_ = true;
    try {
      return session_.local_storage(config_.output_dir, op_).info(op_);
    } catch (const Error& failure) {
      if (!local_optional_) keep(failure, "");
      return nullptr;
    }
  }

  nlohmann::json remote_info() {
    if (!config_.upload_to_cloud) return nullptr;
    try {
      return session_.storage(config_.storage, op_).info(op_);
    } catch (const Error& failure) {
      keep(failure, "");
      return nullptr;
    }
  }

  void plan_disk(DiskRoute& route, const nlohmann::json& local, const nlohmann::json& remote) {
    if (!route.converted) {
      route.open_flags = route.disk.seekable ? HYPER_OPEN_SEEK : HYPER_OPEN_STREAM;
      route.why = "copied as delivered";
      return;
    }
    nlohmann::json plan;
    try {
      plan = plan_conversion(session_, config_, route, op_);
    } catch (const Error& failure) {
      // A converter names members of its request, which nobody but the host has seen.
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.path = plan_key(diagnostic.path, config_);
      keep(Error(std::move(diagnostic)), route.disk.id);
      return;
    }
    const bool stream_to_store =
        !config_.keep_local && !remote.is_null() && !common_sink(plan, remote).empty();
    if (stream_to_store) {
      route.direct_upload = true;
      route.why += ", written straight into " + config_.storage.plugin;
    } else if (!local.is_null() && common_sink(plan, local).empty()) {
      error(Code::kUnsupported, route.disk.id,
            "converter '" + config_.converter.plugin + "' cannot write to local files");
    } else if (local.is_null() && local_optional_) {
      error(Code::kUnsupported, route.disk.id,
            "converter '" + config_.converter.plugin + "' cannot write " + route.target_format +
                " straight into " + config_.storage.plugin +
                " and output_dir cannot be written to");
    }
  }

  /// What an earlier run of the plan finished is not done again. False: all is said.
  bool check_finished() {
    const auto record = out_.resume->vm();
    if (!record || record->phase != "finished") return true;
    bool missing = false;
    std::string why;
    try {
      why = out_.resume->check_artifacts(session_, op_, missing);
    } catch (const Error& failure) {
      why = failure.what();
    } catch (const nlohmann::json::exception& failure) {
      why = std::string("the record is damaged: ") + failure.what();
    }
    if (why.empty()) {
      out_.finished = !config_.overwrite ||
                      (config_.continues_since != 0 &&
                       record->result.value("finished_at", int64_t{0}) >= config_.continues_since);
    } else if (!missing && !config_.overwrite) {
      error(Code::kExists, "", "an earlier run finished this VM, but " + why,
            "remove its files, or set overwrite: true");
      return false;
    }
    return !out_.finished;
  }

  /// Written by an earlier run that did not come to its end.
  bool is_own(const std::string& key) const {
    if (!out_.resume || config_.fresh) return false;
    if (key == out_.stem + "/manifest.json") {
      const auto record = out_.resume->vm();
      return record && record->phase == "closing";
    }
    for (const DiskRoute& route : out_.disks) {
      if (route.key != key) continue;
      const auto record = out_.resume->disk(route.disk.id);
      return record && record->phase == "written";
    }
    return false;
  }

  void check_targets() {
    if (config_.overwrite) return;
    StorageHandle& local = session_.local_storage(config_.output_dir, op_);
    std::vector<std::string> keys;
    for (const DiskRoute& route : out_.disks)
      if (!route.direct_upload) keys.push_back(route.key);
    if (config_.export_manifest) keys.push_back(out_.stem + "/manifest.json");
    for (const std::string& key : keys) {
      if (local.stat(op_, key).is_null() || is_own(key)) continue;
      error(Code::kExists, "", "target exists: " + (config_.output_dir / key).string(),
            "remove it, choose another output_dir, or set overwrite: true");
    }
  }

  /// The manifest says that a set is complete. Disks without it were left by a killed run: they
  /// are gone on with if they turn out to be the same. Its own manifest is one, too: killed after
  /// it.
  void check_remote_targets() {
    if (config_.upload_overwrite) return;
    std::vector<std::string> keys;
    if (config_.export_manifest)
      keys.push_back(out_.stem + "/manifest.json");
    else
      for (const DiskRoute& route : out_.disks) keys.push_back(route.key);
    try {
      StorageHandle& store = session_.storage(config_.storage, op_);
      for (const std::string& key : keys) {
        const nlohmann::json there = store.stat(op_, key);
        if (there.is_null() || is_own(key)) continue;
        error(Code::kExists, "", "target exists: " + there.value("location", key),
              "remove it, choose another destination, or set upload: {overwrite: true}");
      }
    } catch (const Error& failure) {
      keep(failure, "");
    }
  }

  void check_space(const nlohmann::json& local) {
    if (!local.is_object() || !local.value("free_bytes", nlohmann::json()).is_number_unsigned())
      return;
    uint64_t least = 0;  // what is sure to be written
    for (const DiskRoute& route : out_.disks) {
      const Compression compression = config_.convert_options.compression;
      const bool shrinks = compression == Compression::kZlib || compression == Compression::kZstd;
      if (route.direct_upload || (shrinks && route.converted)) continue;
      const uint64_t stored = route.disk.allocated_bytes.value_or(
          route.disk.format == "raw" ? 0 : route.disk.source_bytes.value_or(0));
      least += std::min(stored, route.disk.capacity_bytes);
    }
    const auto free = local["free_bytes"].get<uint64_t>();
    if (least > free)
      error(Code::kNoSpace, "", "not enough space in " + config_.output_dir.string(),
            "at least " + std::to_string(least) + " bytes are needed, " + std::to_string(free) +
                " are free");
  }

  Session& session_;
  const MigrationConfig& config_;
  Operation& op_;
  VmRoute& out_;
  bool local_optional_ = false;
};

}  // namespace

VmRoute plan_route(Session& session, const MigrationConfig& config, Operation& op) {
  VmRoute route;
  ProviderHandle& provider = session.provider(config.provider, op);
  route.vm = parse_vm_description(provider.describe_vm(op, config.vm_name), provider.plugin().id());
  route.stem = safe_file_name(config.output_name.empty() ? route.vm.name : config.output_name);
  route.directory = config.output_dir / route.stem;
  const std::size_t before = op.diagnostics().size();
  try {
    provider.preflight(op, vm_request(config, route.vm.ref, config.task_id));
  } catch (const Error& failure) {
    if (op.diagnostics().size() == before) route.findings.push_back(failure.diagnostic());
  }
  const auto reported = op.diagnostics();
  route.findings.insert(
      route.findings.end(),
      reported.begin() + static_cast<std::ptrdiff_t>(std::min(before, reported.size())),
      reported.end());
  // What is said of a disk that is not migrated is nobody's concern.
  const std::string disks = "vm/" + route.vm.name + "/disk/";
  std::erase_if(route.findings, [&](const Diagnostic& one) {
    return one.path.starts_with(disks) && !config.disks.selects(one.path.substr(disks.size()));
  });
  RoutePlanner(session, config, op, route).run();
  return route;
}

}  // namespace hyperhost
