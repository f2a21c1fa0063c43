// SPDX-License-Identifier: Apache-2.0
// Reading an audit log with its rotated files, oldest first, while it may be written to. Memory
// does not depend on the log's size: one line at a time. Each call is self-contained; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/events/event.hpp"
#include "core/watch/audit/audit_chain.hpp"

namespace hyperhost {

struct AuditFault {
  std::filesystem::path file;
  uint64_t line = 0;  ///< from 1; 0 = the file as a whole
  std::string message;
};

struct AuditVerdict {
  uint64_t files = 0, lines = 0;
  uint64_t torn_lines = 0;  ///< cut short by a crash and recorded as such: no fault
  uint64_t first_seq = 0, last_seq = 0;
  uint64_t fault_count = 0;
  std::vector<AuditFault> faults;  ///< the first hundred
  bool intact() const { return fault_count == 0; }
};

/// Follows the chain over all files of the log at `path`. Throws Error when there is no log or it
/// cannot be read; everything found wrong in it is a fault.
AuditVerdict audit_verify(const std::filesystem::path& path);

/// What an entry must match; what is not set matches everything.
struct AuditFilter {
  std::optional<WallClock::time_point> since, until;  ///< since <= timestamp < until
  std::vector<std::string> types;                     ///< any of these event types
  std::string task_id, vm_name, provider, user;
  std::optional<bool> success;
  uint64_t limit = 0;  ///< stop after so many; 0 = all
};

/// Calls `each` with every matching entry (and its line as written), oldest first, until it
/// returns false. Returns how many it was called with. Lines that are no JSON are passed over.
uint64_t audit_query(
    const std::filesystem::path& path, const AuditFilter& filter,
    const std::function<bool(const nlohmann::json& entry, std::string_view line)>& each);

/// For the writer, which holds the lock: is there any line; where the chain stands by the last
/// complete line; the seq of the oldest line.
bool audit_history_exists(const std::filesystem::path& path);
AuditHead audit_last_line(const std::filesystem::path& path);
std::optional<uint64_t> audit_first_seq(const std::filesystem::path& path);

}  // namespace hyperhost
