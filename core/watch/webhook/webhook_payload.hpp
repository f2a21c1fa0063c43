// SPDX-License-Identifier: Apache-2.0
// What webhooks say and how each receiver wants to read it. Pure functions, any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/events/event.hpp"

namespace hyperhost {

/// A migration's news, taken from an event.
struct Notification {
  enum class Kind { kStart, kComplete, kError, kWarning, kRunEnd } kind = Kind::kStart;
  /// "migration_start", "migration_complete", "migration_failed", "migration_skipped", "warning",
  /// "error"; of the whole run "run_start", "run_complete", "run_failed"
  std::string event;
  WallClock::time_point time;
  std::string delivery_id;               ///< the same over all attempts
  std::shared_ptr<const TaskInfo> task;  ///< null for what concerns the whole run
  std::string run_id, plan, user, host;  ///< of the whole run
  std::string status, message, error;
  std::optional<std::chrono::nanoseconds> duration;
  uint64_t guest_bytes = 0, bytes_exported = 0, bytes_converted = 0, bytes_uploaded = 0;
  std::string manifest_path;
  std::vector<std::pair<std::string, uint64_t>> counts;  ///< of the run's VMs: "failed" …
};

/// Nothing for events without a notification.
std::optional<Notification> make_notification(const Event& event);

/// With the Go hypersdk's members (event_type, duration in nanoseconds, metadata) beside our own.
std::string generic_payload(const Notification& notification);
/// Slack's incoming webhook: text, and an attachment of Block Kit blocks within Slack's limits.
/// username, channel: empty leaves what the hook was made with.
std::string slack_payload(const Notification& notification, const std::string& username = {},
                          const std::string& channel = {});
/// Discord's execute-webhook: one embed within Discord's limits, without mentions.
std::string discord_payload(const Notification& notification, const std::string& username = {});
/// A whole RFC 5322 message, lines ended by CRLF.
std::string email_message(const Notification& notification, const std::string& from,
                          const std::vector<std::string>& to);

/// Lower-case hex HMAC-SHA256 of "<timestamp>.<body>", as the signature header carries it.
std::string webhook_signature(std::string_view secret, int64_t timestamp, std::string_view body);

}  // namespace hyperhost
