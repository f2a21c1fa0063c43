// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/timestamp.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

nlohmann::json disk_json(const DiskResult& disk) {
  return {{"id", disk.id},
          {"path", disk.path},
          {"format", disk.target_format},
          {"bytes", disk.target_bytes},
          {"virtual_size", disk.virtual_size},
          {"content_digest", disk.digest},
          {"verified_by", disk.verified_by},
          {"staged", disk.staged},
          {"resumed_bytes", disk.resumed_bytes},
          {"adopted", disk.adopted},
          {"source",
           {{"format", disk.source_format},
            {"file", disk.source_file},
            {"bytes", disk.source_bytes},
            {"checksum", disk.source_checksum},
            {"verified", disk.source_verified}}},
          {"convert_seconds", seconds(disk.convert_duration)},
          {"verify_seconds", seconds(disk.verify_duration)},
          {"stage_seconds", seconds(disk.stage_duration)},
          {"notes", disk.notes},
          {"uploaded_to", disk.uploaded_to},
          {"stored_checksum", disk.stored_checksum},
          {"url", disk.url}};
}

}  // namespace

nlohmann::json result_json(const MigrationResult& result) {
  nlohmann::json disks = nlohmann::json::array(), warnings = nlohmann::json::array();
  for (const DiskResult& disk : result.disks) disks.push_back(disk_json(disk));
  for (const Diagnostic& warning : result.warnings) warnings.push_back(diagnostic_json(warning));
  nlohmann::json out = {{"task_id", result.task_id},
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
  if (!result.manifest_url.empty()) out["manifest_url"] = result.manifest_url;
  if (!result.success) out["diagnostic"] = diagnostic_json(result.diagnostic);
  return out;
}

nlohmann::json webhook_json(const WebhookStats& hook) {
  return {{"name", hook.name},
          {"type", webhook_type_name(hook.type)},
          {"delivered", hook.delivered},
          {"failed", hook.failed},
          {"dropped", hook.dropped},
          {"retries", hook.retries},
          {"last_error", hook.last_error}};
}

std::string webhooks_text(const std::vector<WebhookStats>& hooks) {
  std::string out;
  for (const WebhookStats& hook : hooks) {
    const uint64_t lost = hook.failed + hook.dropped;
    if (lost == 0) continue;
    out += "webhook " + hook.name + ": " + std::to_string(lost) + " of " +
           std::to_string(lost + hook.delivered) + " not delivered" +
           (hook.last_error.empty() ? "" : ": " + hook.last_error) + "\n";
  }
  return out;
}

std::string summary_text(const std::vector<MigrationResult>& results) {
  Table table({"VM", "Result", ">Attempts", ">Disks", ">Guest size", ">Read", ">Written",
               ">Convert", ">Verify", ">Upload", ">Total", ">Rate"});
  uint64_t guest = 0, read = 0, written = 0;
  std::chrono::nanoseconds longest{0};
  for (const MigrationResult& result : results) {
    guest += result.success && !result.already_done ? result.total_size : 0;
    read += result.export_size;
    written += result.conversion_size;
    longest = std::max(longest, result.total_duration);
    table.row({result.vm_name, result.already_done ? "done before" : outcome_name(result.outcome),
               std::to_string(result.attempts), std::to_string(result.disks.size()),
               human_bytes(result.total_size), human_bytes(result.export_size),
               human_bytes(result.conversion_size), human_duration(result.conversion_duration),
               human_duration(result.verify_duration), human_duration(result.upload_duration),
               human_duration(result.total_duration),
               result.success && !result.already_done
                   ? human_rate(result.total_size, result.conversion_duration)
                   : "-"});
  }
  std::string out = table.text();
  const auto count = [&](Outcome outcome) {
    return std::count_if(results.begin(), results.end(),
                         [&](const MigrationResult& one) { return one.outcome == outcome; });
  };
  out += "\n" + std::to_string(count(Outcome::kSucceeded)) + " of " +
         std::to_string(results.size()) + (results.size() == 1 ? " VM" : " VMs") + " migrated";
  const auto before = std::count_if(results.begin(), results.end(),
                                    [](const MigrationResult& one) { return one.already_done; });
  if (before > 0) out += " (" + std::to_string(before) + " before)";
  for (const Outcome outcome : {Outcome::kFailed, Outcome::kCancelled, Outcome::kSkipped})
    if (count(outcome) > 0)
      out += ", " + std::to_string(count(outcome)) + " " + outcome_name(outcome);
  out += "; " + human_bytes(guest) + " of guest disks, " + human_bytes(read) + " read, " +
         human_bytes(written) + " written\n";
  for (const MigrationResult& result : results) {
    const std::string& said = result.success ? result.manifest_path : result.error;
    std::string more;
    for (const DiskResult& disk : result.disks)
      if (result.success && !disk.digest.empty())
        more += "    " + disk.id + ": " + disk.digest + "\n";
    for (const Diagnostic& warning : result.warnings)
      more += "    warning: " + to_string(warning) + "\n";
    if (!said.empty() || !more.empty())
      out += "  " + result.vm_name + (said.empty() ? "" : ": " + said) + "\n" + more;
  }
  return out;
}

std::string route_text(const VmRoute& route) {
  std::string out = route.vm.name + " -> " + route.directory.string() + "\n";
  for (const DiskRoute& disk : route.disks) {
    out += "  " + disk.disk.id + ": " + (disk.disk.format.empty() ? "?" : disk.disk.format) + ", " +
           human_bytes(disk.disk.capacity_bytes) + " -> " + disk.file_name + "\n    " + disk.why +
           (disk.digest_in_pass ? ", digest in the same pass" : "") + "\n";
    for (const std::string& note : disk.notes) out += "    note: " + note + "\n";
  }
  return out;
}

int exit_status(const std::vector<MigrationResult>& results) {
  bool failed = false, cancelled = false;
  for (const MigrationResult& result : results) {
    failed = failed || result.outcome == Outcome::kFailed || result.outcome == Outcome::kSkipped;
    cancelled = cancelled || result.outcome == Outcome::kCancelled;
  }
  return cancelled ? kExitInterrupted : failed ? kExitFailed : kExitOk;
}

}  // namespace hyperhost
