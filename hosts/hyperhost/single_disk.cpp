// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/single_disk.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/base/text.hpp"
#include "core/config/read_yaml.hpp"
#include "core/disk/local_sources.hpp"
#include "core/run/bind_plan.hpp"
#include "core/run/file_provider.hpp"
#include "core/run/orchestrator.hpp"
#include "core/run/plugin_defaults.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/vm_description.hpp"

namespace hyperhost {
namespace {

constexpr const char* kInput = "input";  // the provider's name

/// For the command line: a file has no VM, and no keys of a plan.
Error plain(const Error& failure) {
  Diagnostic diagnostic = failure.diagnostic();
  if (diagnostic.path.rfind("vm/", 0) == 0 || diagnostic.path.rfind("converter/", 0) == 0)
    diagnostic.path.clear();
  if (diagnostic.code == Code::kExists) diagnostic.hint = "--overwrite replaces it";
  return Error(std::move(diagnostic));
}

/// The format of OUT: the asked-for one, or that of its name. One that some plugin here writes.
std::string target_format(const FormatCatalog& formats, const std::string& asked,
                          const std::filesystem::path& output) {
  std::string format =
      asked.empty() ? formats.of_extension(output.extension().string()) : formats.canonical(asked);
  if (format.empty()) {
    std::string known;
    for (const std::string& one : formats.targets()) known += (known.empty() ? "" : ", ") + one;
    throw Error(Code::kConfig, "the format of " + output.string() + " is not clear from its name",
                "", "say it with --format: " + known);
  }
  if (formats.writers(format).empty()) throw formats.unknown_target(format);
  return format;
}

template <class Enum>
Enum named(const std::string& text, std::initializer_list<Enum> all, const char* (*name)(Enum)) {
  for (const Enum one : all)
    if (text == name(one)) return one;
  throw Error(Code::kConfig, "'" + text + "' is not a choice here");
}

MigrationConfig config_of(const SingleDiskOptions& options, const FormatCatalog& formats,
                          const std::filesystem::path& output) {
  MigrationConfig config;
  config.vm_name = kFileVm;
  config.provider = kInput;
  config.output_dir = output.parent_path();
  config.output_file = output.filename().string();
  config.export_manifest = false;
  config.digest = !options.no_digest;
  config.parallel_disks = false;
  config.target_format = target_format(formats, options.format, output);
  config.overwrite = options.overwrite;
  config.verify_export =
      options.no_digest
          ? Verify::kNone
          : named(options.verify,
                  {Verify::kNone, Verify::kTarget, Verify::kIndependent, Verify::kSource},
                  verify_name);
  config.durability =
      named(options.durability, {Durability::kNone, Durability::kFile}, durability_name);
  config.convert_options = {
      config.target_format,
      named(options.compression,
            {Compression::kNone, Compression::kZlib, Compression::kZstd, Compression::kKeep},
            compression_name),
      options.compression_level, options.cluster_size, options.deterministic};
  return config;
}

/// A plugin with its defaults, and with `allow_backing` where its schema has such an option. One
/// without it refuses overlays in any case.
PluginChoice choice_of(PluginRegistry& registry, const std::string& plugin, bool allow_backing,
                       const ConfigValue& given = ConfigValue::mapping()) {
  PluginChoice choice = default_choice(registry, plugin, given);
  const auto able = nlohmann::json::json_pointer("/options/properties/allow_backing");
  if (allow_backing && registry.find(plugin)->manifest.contains(able)) {
    nlohmann::json options = choice.options.value();
    options["allow_backing"] = true;
    choice.options = Options(std::move(options));
  }
  return choice;
}

/// What keeps the conversion from starting, as an error; nothing if it can.
void require_possible(MigrationOrchestrator& orchestrator, const MigrationConfig& config,
                      const std::shared_ptr<CancelSource>& cancel) {
  cancel->check();
  for (const Diagnostic& finding : orchestrator.preflight(config, cancel).findings)
    if (finding.severity == Severity::kError) throw plain(Error(finding));
}

/// The asked-for converter, or the first of ours that can do it; returns why others cannot.
std::string choose_converter(MigrationOrchestrator& orchestrator, PluginRegistry& registry,
                             const SingleDiskOptions& options, MigrationConfig& config,
                             const std::shared_ptr<CancelSource>& cancel) {
  std::string refusal, refused;
  std::vector<std::string> candidates{options.converter};
  ConfigValue given = ConfigValue::mapping();
  if (options.converter.empty()) {
    candidates = orchestrator.session().images().formats().writers(config.target_format);
    if (!options.host_converter.plugin.empty()) {
      candidates.insert(candidates.begin(), options.host_converter.plugin);
      given = options.host_converter.options;
      if (!options.host_converter.isolation.empty())
        registry.isolate(plugin_id(candidates.front()),
                         isolation_named(options.host_converter.isolation));
    }
  }
  for (const std::string& candidate : candidates) {
    try {
      config.converter = choice_of(registry, candidate, options.allow_backing, given);
      given = ConfigValue::mapping();  // the next one's are its own
      require_possible(orchestrator, config, cancel);
      return refusal.empty() ? "" : "converted by " + candidate + ": " + refusal;
    } catch (const Error& failure) {
      if (failure.code() != Code::kUnsupported && failure.code() != Code::kNotFound) throw;
      if (candidate != candidates.back()) {
        refusal = failure.what();
        refused = candidate;
      } else if (refusal.empty()) {
        throw;
      } else {
        throw Error(failure.code(), "no converter can do this",
                    refused + ": " + refusal + "; " + candidate + ": " + failure.what());
      }
    }
  }
  return {};
}

/// A package as a provider, and its one VM's one disk that is meant as the job's.
PluginChoice package_provider(PluginRegistry& registry, const SingleDiskOptions& options,
                              MigrationConfig& config, Operation& op) {
  PluginChoice choice{"local-ovf", Options(nlohmann::json{
                                       {"path", std::filesystem::absolute(options.input).string()},
                                       {"verify_checksums", !options.no_digest}})};
  Session session(registry, {{kInput, choice}});
  ProviderHandle& provider = session.provider(kInput, op);
  std::vector<std::string> vms;
  provider.list_vms(op, "", [&](const nlohmann::json& vm) { vms.push_back(vm.value("ref", "")); });
  if (vms.size() != 1)
    throw Error(Code::kUnsupported, options.input + " holds " + std::to_string(vms.size()) + " VMs",
                "", "convert takes one disk: use a plan (hyperhost run)");
  const VmDescription vm = parse_vm_description(provider.describe_vm(op, vms[0]), choice.plugin);
  std::string ids;
  for (const DiskDescription& one : vm.disks) {
    ids += (ids.empty() ? "" : ", ") + one.id;
    if (!one.blank && (options.disk.empty() || one.id == options.disk))
      config.disks.include.push_back(one.id);
  }
  const std::size_t matches = config.disks.include.size();
  if (matches != 1)
    throw Error(Code::kConfig,
                options.disk.empty()
                    ? options.input + " holds " + std::to_string(matches) + " disks"
                    : options.input + " has no disk '" + options.disk + "'",
                "it has " + (ids.empty() ? "none" : ids), "choose one with --disk, or use a plan");
  config.vm_name = vms[0];
  return choice;
}

/// What the input is: a package, or an image of a format that is given or found out.
PluginChoice input_provider(PluginRegistry& registry, const SingleDiskOptions& options,
                            MigrationConfig& config, Operation& op) {
  const std::shared_ptr<SourceHandle> source =
      open_file_source(options.input, options.source_format);
  if (source->length() == 0)
    throw Error(Code::kCorrupt, options.input + " is empty: there is no disk in it");
  if (options.source_format.empty() && is_package(*source, op))
    return package_provider(registry, options, config, op);
  if (!options.disk.empty())
    throw Error(Code::kConfig,
                "--disk chooses a disk of a package, and " + options.input + " is none");
  std::string format = options.source_format;
  if (format.empty()) {
    Session session(registry, {});
    if (options.allow_backing) allow_backing(session, registry, op);
    format = detect_format(session, *source, options.input, op);
  }
  return file_provider(registry, options.input, format);
}

/// Mistakes in the command line.
void check_options(const SingleDiskOptions& options, const std::filesystem::path& output) {
  for (const std::string* name : {&options.input, &options.output})
    if (find_invalid_utf8(*name) != std::string_view::npos)
      throw Error(Code::kConfig, "the name " + *name + " is not UTF-8", "", "rename the file");
  std::error_code ignored;
  if (std::filesystem::equivalent(options.input, output, ignored))
    throw Error(Code::kConfig, "IN and OUT are the same file: " + options.input);
  if (output.filename().empty() || std::filesystem::is_directory(output, ignored))
    throw Error(Code::kConfig, "OUT is a directory: " + options.output, "", "name a file in it");
  if (options.no_digest && options.verify != "none")
    throw Error(Code::kConfig, "--verify needs the digest that --no-digest leaves out");
  if (options.compression_level && options.compression != "zlib" && options.compression != "zstd")
    throw Error(Code::kConfig, "--compression-level needs --compression zlib or zstd");
  const int highest = options.compression == "zlib" ? 9 : 22;
  if (options.compression_level &&
      (*options.compression_level < 1 || *options.compression_level > highest))
    throw Error(Code::kConfig, "--compression-level: " + options.compression + " has levels 1 to " +
                                   std::to_string(highest));
}

/// Passes the progress of the one disk on.
class DiskProgressObserver final : public Observer {
 public:
  explicit DiskProgressObserver(const OnProgress& progress) : progress_(progress) {}
  void on_event(const Event& event) noexcept override {
    if (const auto* moved = std::get_if<event::DiskProgress>(&event.body))
      progress_(moved->stage, moved->bytes_done, moved->bytes_total);
  }

 private:
  const OnProgress& progress_;
};

}  // namespace

// A tar archive by its magic (POSIX.1-1988, "ustar" at 257), an OVF descriptor by its beginning.
bool is_package(const SourceHandle& source, Operation& op) {
  char head[512] = "";
  const auto size = static_cast<std::size_t>(std::min<uint64_t>(source.length(), sizeof head));
  source.read_at(op, 0, head, size);
  if (std::string_view(head + 257, 5) == "ustar") return true;
  std::string_view text(head, size);
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  for (const char* begin : {"<?xml", "<Envelope", "<ovf:Envelope"})
    if (text.substr(0, std::string_view(begin).size()) == begin) return true;
  return false;
}

// Raw is what has no signature. Under another format's name the signature is damaged, or the end
// is cut off that has it, and the disk would be garbage.
std::string detect_format(Session& session, const SourceHandle& source, const std::string& path,
                          Operation& op) {
  const FormatCatalog& formats = session.images().formats();
  std::string format = session.images().detect(source, path, op);
  const std::string named = formats.of_extension(std::filesystem::path(path).extension().string());
  if (formats.is_plain(format) && !named.empty() && !formats.is_plain(named))
    throw Error(Code::kCorrupt,
                path + " is named as a " + named + " image and has no signature of one", "",
                "copy or export it again; if it is a raw disk, say so (--source-format " + format +
                    ", or its name)");
  return format;
}

void allow_backing(Session& session, PluginRegistry& registry, Operation& op) {
  for (const std::string& id : registry.ids_with(HYPER_IFACE_CONVERTER)) {
    const auto able = nlohmann::json::json_pointer("/options/properties/allow_backing");
    if (registry.find(id)->manifest.contains(able))
      session.converter(choice_of(registry, id, true), op);
  }
}

DiskResult convert_single_disk(PluginRegistry& registry, const SingleDiskOptions& options,
                               const std::shared_ptr<CancelSource>& cancel,
                               const OnProgress& progress) {
  if (options.input.empty() || options.output.empty())
    throw Error(Code::kConfig, std::string(options.input.empty() ? "IN" : "OUT") + " is empty");
  const auto output = std::filesystem::absolute(options.output).lexically_normal();
  check_options(options, output);
  SessionServices services;
  try {  // so that cleanup finds what a kill leaves; no place for a journal is no reason to fail
    services.journal = StateStore::open(default_state_dir());
  } catch (const Error& failure) {
    spdlog::debug("no journal is kept: {}", failure.what());
  }
  const FormatCatalog formats(registry);
  MigrationConfig config = config_of(options, formats, output);
  OrchestratorConfig wanted;
  wanted.enable_progress = wanted.enable_metrics = false;
  Operation op(output.filename().string(), cancel);
  wanted.providers[kInput] = input_provider(registry, options, config, op);
  MigrationOrchestrator orchestrator(wanted, registry, services);
  if (options.allow_backing) allow_backing(orchestrator.session(), registry, op);
  const std::string note = choose_converter(orchestrator, registry, options, config, cancel);
  DiskProgressObserver observer(progress);
  orchestrator.events().subscribe(&observer);
  MigrationResult result = orchestrator.migrate(config, cancel);
  if (!result.success) throw plain(Error(result.diagnostic));
  DiskResult disk = std::move(result.disks.at(0));
  if (!note.empty()) disk.notes.insert(disk.notes.begin(), note);
  return disk;
}

}  // namespace hyperhost
