// SPDX-License-Identifier: Apache-2.0
#include "core/vm/result_json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/clock.hpp"
#include "core/base/diagnostic_json.hpp"
#include "core/base/timestamp.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

/// Names the members once, for both directions. `field` is called as field(key, member).
template <class Disk, class Field>
void each_field(Disk& disk, Field&& field) {
  field("id", disk.id);
  field("label", disk.label);
  field("type", disk.type);
  field("boot_order", disk.boot_order);
  field("path", disk.path);
  field("key", disk.key);
  field("format", disk.target_format);
  field("bytes", disk.target_bytes);
  field("checksum", disk.target_checksum);
  field("virtual_size", disk.virtual_size);
  field("content_digest", disk.digest);
  field("verified_by", disk.verified_by);
  field("source_digest", disk.source_digest);
  field("changed_blocks", disk.changed_blocks);
  field("changed_bytes", disk.changed_bytes);
  field("changes_file", disk.changes_file);
  field("proven", disk.proven);
  field("zero_bytes", disk.zero_bytes);
  field("zero_places", disk.zero_places);
  field("zero_seed", disk.zero_seed);
  field("staged", disk.staged);
  field("resumed_bytes", disk.resumed_bytes);
  field("adopted", disk.adopted);
  field("convert_seconds", disk.convert_duration);
  field("verify_seconds", disk.verify_duration);
  field("stage_seconds", disk.stage_duration);
  field("notes", disk.notes);
  field("uploaded_to", disk.uploaded_to);
  field("stored_checksum", disk.stored_checksum);
  field("url", disk.url);
}

template <class Disk, class Field>
void each_source_field(Disk& disk, Field&& field) {
  field("format", disk.source_format);
  field("file", disk.source_file);
  field("bytes", disk.source_bytes);
  field("checksum", disk.source_checksum);
  field("verified", disk.source_verified);
}

struct FieldWriter {
  json& out;
  template <class T>
  void operator()(const char* key, const T& value) const {
    out[key] = value;
  }
  void operator()(const char* key, const std::chrono::nanoseconds& value) const {
    out[key] = seconds(value);
  }
};

struct FieldReader {
  const json& in;
  template <class T>
  void operator()(const char* key, T& value) const {
    if (const auto found = in.find(key); found != in.end()) found->get_to(value);
  }
  void operator()(const char* key, std::chrono::nanoseconds& value) const {
    double read = 0;
    (*this)(key, read);
    if (!(read >= 0 && read < 1e9)) throw Error(Code::kCorrupt, std::string(key) + " is no time");
    value = std::chrono::nanoseconds(std::llround(read * 1e9));
  }
};

}  // namespace

json to_json(const DiskResult& disk) {
  json out = json::object(), source = json::object();
  each_field(disk, FieldWriter{out});
  each_source_field(disk, FieldWriter{source});
  out["source"] = std::move(source);
  return out;
}

DiskResult disk_result_from(const json& in) {
  try {
    DiskResult disk;
    if (in.at("id").get<std::string>().empty()) throw Error(Code::kCorrupt, "a disk has no id");
    each_field(disk, FieldReader{in});
    each_source_field(disk, FieldReader{in.at("source")});
    return disk;
  } catch (const json::exception& failure) {
    throw Error(Code::kCorrupt, "the record of a written disk is damaged", failure.what());
  }
}

json to_json(const MigrationResult& result) {
  json disks = json::array(), warnings = json::array();
  for (const DiskResult& disk : result.disks) disks.push_back(to_json(disk));
  for (const Diagnostic& warning : result.warnings) warnings.push_back(diagnostic_json(warning));
  json out = {{"task_id", result.task_id},
              {"vm_name", result.vm_name},
              {"provider", result.provider},
              {"success", result.success},
              {"outcome", outcome_name(result.outcome)},
              {"error", result.error},
              {"export_seconds", seconds(result.export_duration)},
              {"exported_files", result.exported_files},
              {"export_size", result.export_size},
              {"manifest_path", result.manifest_path},
              {"conversion_seconds", seconds(result.conversion_duration)},
              {"converted_files", result.converted_files},
              {"conversion_size", result.conversion_size},
              {"verify_seconds", seconds(result.verify_duration)},
              {"upload_seconds", seconds(result.upload_duration)},
              {"uploaded_files", result.uploaded_files},
              {"upload_size", result.upload_size},
              {"cloud_destination", result.cloud_destination},
              {"total_seconds", seconds(result.total_duration)},
              {"total_size", result.total_size},
              {"start_time", format_timestamp(result.start_time)},
              {"end_time", format_timestamp(result.end_time)},
              {"attempts", result.attempts},
              {"already_done", result.already_done},
              {"disks", disks},
              {"warnings", warnings}};
  if (!result.boot.is_null()) {
    out["boot"] = result.boot;
    out["boot_seconds"] = seconds(result.boot_duration);
  }
  if (!result.findings.empty()) out["findings"] = result.findings;
  if (!result.guest.is_null()) out["guest"] = result.guest;
  if (!result.target.is_null()) out["target"] = result.target;
  if (!result.manifest_url.empty()) out["manifest_url"] = result.manifest_url;
  if (!result.success) out["diagnostic"] = diagnostic_json(result.diagnostic);
  return out;
}

}  // namespace hyperhost
