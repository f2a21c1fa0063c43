// SPDX-License-Identifier: Apache-2.0
// hyperhost audit verify, hyperhost audit query: the audit log of runs, with its rotated files.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/near_miss.hpp"
#include "core/base/timestamp.hpp"
#include "core/base/units.hpp"
#include "core/watch/audit/audit_reader.hpp"
#include "core/watch/audit/audit_record.hpp"
#include "hosts/hyperhost/command_line.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

std::string place_of(const AuditFault& fault) {
  return fault.file.string() + (fault.line == 0 ? "" : ":" + std::to_string(fault.line));
}

int verify(const Context& context, const std::string& log) {
  const AuditVerdict verdict = audit_verify(log);
  if (context.json()) {
    nlohmann::json faults = nlohmann::json::array();
    for (const AuditFault& fault : verdict.faults)
      faults.push_back(
          {{"file", fault.file.string()}, {"line", fault.line}, {"message", fault.message}});
    context.print_json({{"path", log},
                        {"intact", verdict.intact()},
                        {"files", verdict.files},
                        {"lines", verdict.lines},
                        {"torn_lines", verdict.torn_lines},
                        {"first_seq", verdict.first_seq},
                        {"last_seq", verdict.last_seq},
                        {"fault_count", verdict.fault_count},
                        {"faults", faults}});
  } else {
    for (const AuditFault& fault : verdict.faults)
      std::cout << printable(place_of(fault) + ": " + fault.message) << "\n";
    std::cout << printable(log) << ": "
              << (verdict.intact() ? std::string("intact")
                                   : "NOT INTACT, " + std::to_string(verdict.fault_count) +
                                         (verdict.fault_count == 1 ? " fault" : " faults"))
              << "; " << verdict.lines << (verdict.lines == 1 ? " line" : " lines") << " in "
              << verdict.files << (verdict.files == 1 ? " file" : " files") << ", number "
              << verdict.first_seq << " to " << verdict.last_seq << "\n";
    if (verdict.torn_lines > 0)
      std::cout << verdict.torn_lines << (verdict.torn_lines == 1 ? " line was" : " lines were")
                << " cut short by a crash and noted as such\n";
  }
  return verdict.intact() ? kExitOk : kExitDiffers;
}

struct QueryOptions {
  std::string log, since, until, success;
  AuditFilter filter;
};

/// "2026-01-02T03:04:05Z", "2026-01-02", or "2h": that long ago.
std::optional<WallClock::time_point> moment(const char* flag, const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (const auto time = parse_timestamp(text)) return time;
  if (const auto ago = parse_duration(text))
    return WallClock::now() - std::chrono::duration_cast<WallClock::duration>(*ago);
  throw Error(Code::kConfig, std::string(flag) + ": '" + text + "' is no time", "",
              "write 2026-01-02T03:04:05Z, 2026-01-02 (UTC) or 2h (ago)");
}

std::string line_for_people(const nlohmann::json& entry) {
  const auto text = [&](const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? printable(found->get<std::string>())
                                                      : std::string();
  };
  const auto or_dash = [](const std::string& value) { return value.empty() ? "-" : value; };
  std::string out = fitted(text("timestamp"), 24) + "  " + fitted(text("event_type"), 19) + " " +
                    fitted(or_dash(text("status")), 9) + " " + or_dash(text("user")) + " " +
                    or_dash(text("vm_name"));
  for (const char* key : {"description", "error"})
    if (!text(key).empty()) out += "  " + text(key);
  return out;
}

int query(const Context& context, QueryOptions& options) {
  const auto types = audit_event_types();
  for (const std::string& type : options.filter.types)
    if (std::find(types.begin(), types.end(), type) == types.end())
      throw Error(Code::kConfig, "--type: no entry has the type '" + type + "'", "",
                  suggest(type, types));
  options.filter.since = moment("--since", options.since);
  options.filter.until = moment("--until", options.until);
  if (!options.success.empty()) options.filter.success = options.success == "true";
  audit_query(options.log, options.filter, [&](const nlohmann::json& entry, std::string_view line) {
    if (context.json())
      std::cout << line << "\n";
    else
      std::cout << line_for_people(entry) << "\n";
    return std::cout.good();
  });
  return kExitOk;
}

void add_verify(CLI::App& audit, Context& context, int& status) {
  auto log = std::make_shared<std::string>();
  CLI::App* command = audit.add_subcommand(
      "verify", "Follow the chain of hashes over the log and its rotated files");
  command->add_option("LOG", *log, "The log, as the plan names it (audit_log.path)")->required();
  command->footer(
      "A line that was edited, removed, added or moved is reported with its file and number.\n\n"
      "Exit status: 0 intact, 5 not intact, 1 there is no log or it cannot be read.\n\n"
      "Example:\n  hyperhost audit verify /var/log/hyperhost/audit.log");
  command->callback([log, &context, &status] { status = verify(context, *log); });
}

void add_query(CLI::App& audit, Context& context, int& status) {
  auto options = std::make_shared<QueryOptions>();
  AuditFilter& filter = options->filter;
  CLI::App* command = audit.add_subcommand(
      "query", "Print the entries that match, oldest first; all flags given must hold");
  command->add_option("LOG", options->log, "The log, as the plan names it (audit_log.path)")
      ->required();
  command->add_option("--task", filter.task_id, "The task's id");
  command->add_option("--vm", filter.vm_name, "The VM's name");
  command->add_option("--provider", filter.provider, "The provider's plugin");
  command->add_option("--user", filter.user, "Of this user");
  command
      ->add_option("--type", filter.types, "The event's type, e.g. migration_failed (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--since", options->since,
                      "From this time on: 2026-01-02T03:04:05Z, 2026-01-02, or 2h (ago)");
  command->add_option("--until", options->until, "Before this time");
  command->add_option("--success", options->success, "Only what succeeded, or only what did not")
      ->check(CLI::IsMember({"true", "false"}));
  command->add_option("--limit", filter.limit, "Stop after so many")
      ->check(in_range(1, 1'000'000'000));
  command->footer(
      "With --output json each entry is printed as the log has it, one object a line. The log is\n"
      "read in one pass; its size does not matter.\n\n"
      "Examples:\n"
      "  hyperhost audit query audit.log --success false --since 24h\n"
      "  hyperhost audit query audit.log --vm web-01 --type migration_start \\\n"
      "      --type migration_complete\n"
      "  hyperhost --output json audit query audit.log --user ops | jq .description");
  command->callback([options, &context, &status] { status = query(context, *options); });
}

}  // namespace

void add_audit_commands(CLI::App& app, Context& context, int& status) {
  CLI::App* audit = app.add_subcommand("audit", "Read and check the audit log");
  audit->require_subcommand(1);
  audit->fallthrough();
  add_verify(*audit, context, status);
  add_query(*audit, context, status);
}

}  // namespace hyperhost
