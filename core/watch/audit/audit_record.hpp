// SPDX-License-Identifier: Apache-2.0
// One entry of the audit log, and how migration events become entries. Plain values, any thread.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/events/event.hpp"

namespace hyperhost {

/// architecture.md, "Audit events". The log itself adds event_id, seq and prev_hash.
struct AuditRecord {
  std::string event_type;  ///< "migration_start", "export_complete", "api_access", "warning" …
  WallClock::time_point timestamp = WallClock::now();
  std::string task_id, vm_name, provider, user, ip_address, user_agent;
  std::string action, description;
  std::string status;  ///< "started", "completed", "failed", "cancelled", "skipped", "denied" …
  std::optional<std::chrono::nanoseconds> duration;  ///< written in seconds
  std::vector<std::pair<std::string, std::string>> details;
  bool success = true;
  std::string error;
  std::vector<std::string> resources;                        ///< files and URLs concerned
  std::vector<std::pair<std::string, std::string>> changes;  ///< what a config_change set
  bool milestone = false;  ///< start or end of a migration: synced unless sync is kNever
};

nlohmann::ordered_json audit_json(const AuditRecord& record);

/// Every event_type that entries may have, sorted.
std::vector<std::string> audit_event_types();

/// The entry for `event`; nothing for events that are not audited (progress, disks, notes).
std::optional<AuditRecord> audit_record(const Event& event);

}  // namespace hyperhost
