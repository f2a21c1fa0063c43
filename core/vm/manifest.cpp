// SPDX-License-Identifier: Apache-2.0
#include "core/vm/manifest.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "core/base/clock.hpp"
#include "core/base/json_text.hpp"
#include "core/base/timestamp.hpp"
#include "core/base/version.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::ordered_json;

bool one_of(const std::string& text, std::initializer_list<const char*> choices) {
  return std::find(choices.begin(), choices.end(), text) != choices.end();
}

Json disk_entry(const DiskResult& disk, const std::string& path) {
  Json entry;
  entry["id"] = disk.id;
  entry["source_format"] = disk.target_format;
  entry["bytes"] = disk.target_bytes;
  entry["local_path"] = path;
  if (!disk.target_checksum.empty()) entry["checksum"] = disk.target_checksum;
  entry["boot_order_hint"] = disk.boot_order;
  if (!disk.label.empty()) entry["label"] = disk.label;
  entry["disk_type"] = one_of(disk.type, {"boot", "data"}) ? disk.type : "unknown";
  return entry;
}

Json own_disk_entry(const DiskResult& disk, const VmDescription& vm) {
  Json source;
  source["format"] = disk.source_format;
  if (!disk.source_file.empty()) source["file"] = disk.source_file;
  source["bytes"] = disk.source_bytes;
  if (!disk.source_checksum.empty()) source["checksum"] = disk.source_checksum;
  if (!disk.source_verified.empty()) source["verified"] = disk.source_verified;
  Json entry;
  entry["id"] = disk.id;
  entry["virtual_size"] = disk.virtual_size;
  for (const DiskDescription& described : vm.disks)
    if (described.id == disk.id && !described.controller.empty())
      entry["controller"] = described.controller;
  if (!disk.digest.empty()) entry["content_digest"] = disk.digest;
  if (!disk.source_digest.empty()) entry["source_digest"] = disk.source_digest;
  if (!disk.changes_file.empty())
    entry["changed"] = {{"blocks", disk.changed_blocks},
                        {"bytes", disk.changed_bytes},
                        {"list", disk.changes_file}};
  if (!disk.verified_by.empty()) entry["verified_by"] = disk.verified_by;
  entry["proven"] = disk.proven;
  if (!disk.zero_seed.empty())
    entry["zeros"] = {
        {"bytes", disk.zero_bytes}, {"places", disk.zero_places}, {"seed", disk.zero_seed}};
  entry["location"] = disk.path;
  if (!disk.uploaded_to.empty()) entry["uploaded_to"] = disk.uploaded_to;
  if (!disk.stored_checksum.empty()) entry["stored_checksum"] = disk.stored_checksum;
  entry["staged"] = disk.staged;
  entry["source"] = source;
  entry["seconds"] = {{"stage", seconds(disk.stage_duration)},
                      {"convert", seconds(disk.convert_duration)},
                      {"verify", seconds(disk.verify_duration)}};
  entry["notes"] = disk.notes;
  return entry;
}

/// The machine that the target has to build, beyond the common form.
Json hardware(const VmDescription& vm) {
  Json out = {{"memory_bytes", vm.memory_bytes}, {"guest_os", vm.guest_os}, {"path", vm.path}};
  if (vm.cores_per_socket != 0) out["cores_per_socket"] = vm.cores_per_socket;
  const std::pair<const char*, const std::string&> texts[] = {
      {"uuid", vm.uuid}, {"instance_uuid", vm.instance_uuid}, {"hardware", vm.hardware}};
  for (const auto& [name, text] : texts)
    if (!text.empty()) out[name] = text;
  out["tpm"] = vm.tpm;
  out["controllers"] = Json::array();
  for (const ControllerDescription& controller : vm.controllers)
    out["controllers"].push_back({{"id", controller.id}, {"type", controller.type}});
  return out;
}

Json own_section(const MigrationConfig& config, const VmDescription& vm,
                 const MigrationResult& result) {
  Json own;
  own["version"] = version();
  own["converter"] = config.enable_conversion ? config.converter.plugin : "";
  own["compression"] = compression_name(config.convert_options.compression);
  own["verify"] = verify_name(config.verify_export);
  own["disks"] = Json::array();
  for (const DiskResult& disk : result.disks) own["disks"].push_back(own_disk_entry(disk, vm));
  own["vm"] = hardware(vm);
  own["seconds"] = {{"export", seconds(result.export_duration)},
                    {"convert", seconds(result.conversion_duration)},
                    {"verify", seconds(result.verify_duration)}};
  if (!result.boot.is_null()) {
    own["boot"] = {{"plugin", config.boot_plugin.plugin},
                   {"seconds", seconds(result.boot_duration)}};
    for (const char* member : {"booted", "require", "grade", "failed", "accel", "stopped", "notes"})
      if (result.boot.contains(member)) own["boot"][member] = result.boot[member];
    own["boot"]["evidence"] = result.boot.value("reached", Json::array());
  }
  if (!result.findings.empty()) own["findings"] = result.findings;
  if (!result.guest.is_null()) own["guest"] = result.guest;
  if (!result.machine.is_null()) own["machine"] = result.machine;
  if (!result.target.is_null()) own["target"] = result.target;
  if (config.upload_to_cloud) own["upload"] = {{"destination", config.cloud_destination}};
  return own;
}

void check_disk(const nlohmann::json& disk, const std::string& at, const FormatCatalog& formats,
                std::set<std::string>& ids, std::vector<std::string>& problems) {
  static const std::regex id_pattern("^[a-zA-Z0-9_-]+$");
  static const std::regex checksum_pattern("^sha256:[0-9a-f]{64}$");
  if (!disk.is_object()) {
    problems.push_back(at + " is not an object");
    return;
  }
  const std::string id = text_of(disk, "id");
  if (!std::regex_match(id, id_pattern))
    problems.push_back(at + "/id is not of the form a-z A-Z 0-9 _ -");
  if (!ids.insert(id).second) problems.push_back(at + "/id stands twice");
  if (const std::string format = text_of(disk, "source_format"); !formats.knows(format)) {
    std::string known;
    for (const std::string& one : formats.names()) known += (known.empty() ? "" : ", ") + one;
    problems.push_back(at + "/source_format '" + format +
                       "' is a format of no plugin here; known: " + known);
  }
  if (disk.find("bytes") == disk.end() || !disk["bytes"].is_number_unsigned())
    problems.push_back(at + "/bytes is not a number");
  const std::string path = text_of(disk, "local_path");
  if (path.empty() || path.front() != '/') problems.push_back(at + "/local_path is not absolute");
  if (disk.contains("checksum") && !std::regex_match(text_of(disk, "checksum"), checksum_pattern))
    problems.push_back(at + "/checksum is not of the form sha256:<64 hex digits>");
}

}  // namespace

Json make_manifest(const MigrationConfig& config, const VmRoute& route,
                   const MigrationResult& result) {
  const VmDescription& vm = route.vm;
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  const std::string now = format_timestamp(WallClock::now());
  Json manifest;
  manifest["manifest_version"] = "1.0";
  manifest["source"] = {{"provider", result.provider},
                        {"vm_id", vm.ref},
                        {"vm_name", vm.name},
                        {"datacenter", vm.datacenter},
                        {"export_timestamp", format_timestamp(result.start_time)},
                        {"export_method", vm.export_method}};
  manifest["vm"] = {{"cpu", vm.cpu},
                    {"mem_gb", (vm.memory_bytes + kGiB - 1) / kGiB},  // whole ones, by its readers
                    {"memory_bytes", vm.memory_bytes},
                    {"firmware", one_of(vm.firmware, {"bios", "uefi"}) ? vm.firmware : "unknown"},
                    {"secureboot", vm.secure_boot},
                    {"os_hint", one_of(vm.os_hint, {"linux", "windows"}) ? vm.os_hint : "unknown"},
                    {"os_version", vm.os_version.empty() ? vm.guest_os : vm.os_version}};
  manifest["disks"] = Json::array();
  for (const DiskResult& disk : result.disks) {
    const bool local = !disk.path.empty() && disk.path.front() == '/';
    manifest["disks"].push_back(
        disk_entry(disk, local ? disk.path : (config.output_dir / disk.key).string()));
  }
  manifest["nics"] = Json::array();
  for (const NicDescription& nic : vm.nics) {
    Json entry = {{"id", nic.id}, {"mac", nic.mac}, {"network", nic.network}};
    if (!nic.model.empty()) entry["model"] = nic.model;
    manifest["nics"].push_back(std::move(entry));
  }
  manifest["notes"] = vm.notes;
  manifest["warnings"] = Json::array();
  for (const Diagnostic& warning : result.warnings)
    manifest["warnings"].push_back(
        {{"stage", "export"}, {"message", to_string(warning)}, {"timestamp", now}});
  manifest["metadata"] = {{"hypersdk_version", std::string("hyperhost/") + version()},
                          {"job_id", result.task_id},
                          {"created_at", now},
                          {"tags", config.tags}};
  manifest["pipeline"] = {
      {"inspect", {{"enabled", true}}},
      {"fix", {{"enabled", !result.guest.is_null()}}},
      {"convert",
       {{"enabled", config.enable_conversion},
        {"compress", config.convert_options.compression != Compression::kNone},
        {"compress_level", config.convert_options.compression_level.value_or(0)}}},
      {"validate",
       {{"enabled", config.verify_export != Verify::kNone || config.boot.wanted},
        {"boot_test", config.boot.wanted}}}};
  const bool any = !result.disks.empty();
  manifest["output"] = {
      {"directory", route.directory.string()},
      {"format", any ? result.disks[0].target_format : config.target_format},
      {"filename", any ? std::filesystem::path(result.disks[0].key).filename().string() : ""}};
  manifest["options"] = Json::object();
  manifest["hyperhost"] = own_section(config, vm, result);
  return manifest;
}

std::vector<std::string> check_manifest(const nlohmann::json& manifest,
                                        const FormatCatalog& formats) {
  if (!manifest.is_object()) return {"the document is not an object"};
  std::vector<std::string> problems;
  if (text_of(manifest, "manifest_version") != "1.0")
    problems.emplace_back("/manifest_version is not \"1.0\"");
  const auto disks = manifest.find("disks");
  if (disks == manifest.end() || !disks->is_array() || disks->empty()) {
    problems.emplace_back("/disks is not a list of at least one disk");
    return problems;
  }
  std::set<std::string> ids;
  for (std::size_t i = 0; i < disks->size(); ++i)
    check_disk((*disks)[i], "/disks/" + std::to_string(i), formats, ids, problems);
  return problems;
}

std::vector<ManifestDisk> read_manifest(const std::string& path, const FormatCatalog& formats) {
  constexpr std::uintmax_t kMaxBytes = 16u << 20;
  std::error_code error;
  if (const auto size = std::filesystem::file_size(path, error); error || size > kMaxBytes)
    throw Error(error ? Code::kNotFound : Code::kCorrupt, "cannot read manifest " + path,
                error ? error.message() : "it is larger than 16 MiB");
  std::ifstream file(path);
  const auto manifest = nlohmann::json::parse(file, nullptr, false);
  if (manifest.is_discarded()) throw Error(Code::kCorrupt, path + " is not JSON");
  if (const auto problems = check_manifest(manifest, formats); !problems.empty()) {
    std::string list;
    for (const std::string& problem : problems) list += (list.empty() ? "" : "; ") + problem;
    throw Error(Code::kCorrupt, path + " is not a valid artifact manifest", list);
  }
  const nlohmann::json::json_pointer own_disks("/hyperhost/disks");
  const auto own = manifest.contains(own_disks) ? manifest.at(own_disks) : nlohmann::json::array();
  std::vector<ManifestDisk> out;
  for (const auto& disk : manifest["disks"]) {
    ManifestDisk made{
        disk["id"], disk["source_format"], disk["local_path"], "", {}, {}, disk["bytes"], 0};
    for (const auto& entry : own) {
      if (!entry.is_object() || text_of(entry, "id") != made.id) continue;
      made.digest = text_of(entry, "content_digest");
      made.source_digest = text_of(entry, "source_digest");
      if (const auto changed = entry.find("changed"); changed != entry.end()) {
        made.changes = changed->is_object() ? text_of(*changed, "list") : "";
        if (made.changes.empty() || made.changes.find('/') != std::string::npos ||
            made.changes == "." || made.changes == "..")
          throw Error(Code::kCorrupt, path + ": the list of changes of disk " + made.id +
                                          " is not the name of a file beside it");
      }
      if (entry.contains("virtual_size") && entry["virtual_size"].is_number_unsigned())
        made.virtual_size = entry["virtual_size"];
    }
    out.push_back(std::move(made));
  }
  return out;
}

}  // namespace hyperhost
