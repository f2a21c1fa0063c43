// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {

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
