// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/report.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/table.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

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

namespace {

constexpr std::size_t kWidth = 80, kNameWidth = 20;
constexpr std::size_t kNamesShown = 10, kRowsShown = 40;

/// Words of `text` in lines of kWidth at most, each begun with `indent`. A longer word stays whole.
std::string wrapped(const std::string& text, const std::string& indent) {
  std::istringstream words(printable(text));
  std::string out, line;
  for (std::string word; words >> word;) {
    if (!line.empty() && display_width(indent + line + " " + word) > kWidth) {
      out += indent + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? out : out + indent + line + "\n";
}

std::string vms(std::size_t number) {
  return std::to_string(number) + (number == 1 ? " VM" : " VMs");
}

bool never_begun(const MigrationResult& result) {
  return result.outcome != Outcome::kFailed && result.diagnostic.summary.rfind("not begun", 0) == 0;
}

std::string one_failure(const MigrationResult& result) {
  std::string head = result.vm_name + ": " + outcome_name(result.outcome);
  if (result.attempts > 1) head += " in attempt " + std::to_string(result.attempts);
  Diagnostic error = result.diagnostic;
  error.hint.clear();
  std::string out = wrapped(head, "  ") + wrapped(to_string(error), "      ");
  if (!result.diagnostic.hint.empty())
    out += wrapped("What to do: " + result.diagnostic.hint, "      ");
  return out;
}

/// VMs that never began, once for each reason: a cancelled run of many needs no line a VM.
std::string not_begun(const std::vector<MigrationResult>& results, bool verbose) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> groups;
  for (const MigrationResult& result : results)
    if (never_begun(result))
      groups[{outcome_name(result.outcome), result.diagnostic.summary}].push_back(result.vm_name);
  std::string out;
  for (const auto& [key, names] : groups) {
    out += wrapped(vms(names.size()) + " " + key.first + ", " + key.second, "  ");
    std::string list;
    for (std::size_t i = 0; i < names.size() && (verbose || i < kNamesShown); ++i)
      list += (i == 0 ? "" : ", ") + names[i];
    if (!verbose && names.size() > kNamesShown)
      list += " and " + std::to_string(names.size() - kNamesShown) + " more";
    out += wrapped(list, "      ");
    const bool stopped = key.first == outcome_name(Outcome::kCancelled);
    out += wrapped(
        stopped ? "What to do: run it again" : "What to do: mend what failed, then run it again",
        "      ");
  }
  return out;
}

std::string failures_text(const std::vector<MigrationResult>& results, bool verbose) {
  std::string out;
  for (const Outcome outcome : {Outcome::kFailed, Outcome::kSkipped, Outcome::kCancelled})
    for (const MigrationResult& result : results)
      if (result.outcome == outcome && !never_begun(result)) out += one_failure(result);
  out += not_begun(results, verbose);
  return out.empty() ? out : "Not migrated:\n" + out;
}

/// A row each VM that was migrated.
std::string successes_text(const std::vector<MigrationResult>& results, bool verbose) {
  const auto good = static_cast<std::size_t>(std::count_if(
      results.begin(), results.end(), [](const MigrationResult& one) { return one.success; }));
  if (good == 0) return {};
  if (good > kRowsShown && !verbose)
    return "Migrated: " + vms(good) + "; -v lists them, and hyperhost result VM shows one\n";
  Table table({"VM", ">Guest", ">Read", ">Written", ">Took", ">Rate"});
  for (const MigrationResult& result : results) {
    if (!result.success) continue;
    const std::string name = printable(result.vm_name);
    table.row({display_width(name) > kNameWidth ? fitted(name, kNameWidth) : name,
               human_bytes(result.total_size), human_bytes(result.export_size),
               human_bytes(result.conversion_size),
               result.already_done ? "done before" : human_duration(result.total_duration),
               result.already_done ? "-" : human_rate(result.total_size, result.total_duration)});
  }
  std::string out = table.text();
  if (!verbose && results.size() > 1) return out;
  for (const MigrationResult& result : results) {
    if (!result.success) continue;
    out += "  " + result.vm_name + ": " + result.manifest_path + "\n";
    for (const DiskResult& disk : result.disks)
      if (verbose && !disk.digest.empty()) out += "    " + disk.id + ": " + disk.digest + "\n";
  }
  return out;
}

/// What the boot check of a VM found, of a VM that was checked.
std::string boot_line(const MigrationResult& result) {
  if (result.boot.is_null()) return {};
  const auto text = [&](const char* member) { return result.boot.value(member, std::string()); };
  const std::string failed = text("failed");
  return result.vm_name + ": " +
         (result.boot.value("booted", false) ? "boots, '" + text("grade") + "' reached"
                                             : "does not boot, '" + text("grade") + "' reached") +
         (failed.empty() ? "" : ", " + failed) + " (" + text("accel") + ", " +
         human_duration(result.boot_duration) + ")";
}

std::string boots_text(const std::vector<MigrationResult>& results, bool verbose) {
  std::string out;
  std::size_t number = 0;
  for (const MigrationResult& result : results) {
    const std::string line = result.already_done ? std::string() : boot_line(result);
    if (!line.empty() && (++number <= kNamesShown || verbose)) out += wrapped(line, "  ");
  }
  if (number > kNamesShown && !verbose)
    out += "  and " + std::to_string(number - kNamesShown) + " more; -v lists them\n";
  return out.empty() ? out : "Boot check:\n" + out;
}

std::string warnings_text(const std::vector<MigrationResult>& results, bool verbose) {
  std::string out;
  std::size_t number = 0;
  for (const MigrationResult& result : results)
    for (const Diagnostic& warning : result.warnings)
      if (++number <= kNamesShown || verbose)
        out += wrapped(result.vm_name + ": " + to_string(warning), "  ");
  if (number == 0) return {};
  if (number > kNamesShown && !verbose)
    out += "  and " + std::to_string(number - kNamesShown) + " more; -v lists them\n";
  return "Warnings:\n" + out;
}

std::string last_line(const std::vector<MigrationResult>& results) {
  uint64_t guest = 0, read = 0, written = 0;
  std::size_t before = 0;
  std::map<Outcome, std::size_t> counts;
  for (const MigrationResult& result : results) {
    ++counts[result.outcome];
    before += result.already_done ? 1 : 0;
    guest += result.success && !result.already_done ? result.total_size : 0;
    read += result.export_size;
    written += result.conversion_size;
  }
  std::string out =
      std::to_string(counts[Outcome::kSucceeded]) + " of " + vms(results.size()) + " migrated";
  if (before > 0) out += " (" + std::to_string(before) + " before)";
  for (const Outcome outcome : {Outcome::kFailed, Outcome::kCancelled, Outcome::kSkipped})
    if (counts[outcome] > 0)
      out += ", " + std::to_string(counts[outcome]) + " " + outcome_name(outcome);
  const std::pair<const char*, uint64_t> sizes[] = {{"; ", guest}, {", ", read}, {", ", written}};
  const char* const of[] = {" guest", " read", " written"};
  std::string facts;
  for (std::size_t i = 0; i < std::size(sizes); ++i)
    facts += sizes[i].first + human_bytes(sizes[i].second) + of[i];
  return out + (out.size() + facts.size() <= kWidth ? facts : "") + "\n";
}

}  // namespace

std::string summary_text(const std::vector<MigrationResult>& results,
                         const std::vector<WebhookStats>& hooks, bool verbose) {
  std::string out;
  for (const std::string& part :
       {failures_text(results, verbose), successes_text(results, verbose),
        boots_text(results, verbose), warnings_text(results, verbose), webhooks_text(hooks)})
    out += part + (part.empty() ? "" : "\n");
  return out + last_line(results);
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
