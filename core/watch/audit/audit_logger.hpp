// SPDX-License-Identifier: Apache-2.0
// AuditLogger writes who did what to which VM, one JSON object a line, chained by SHA-256
// (audit_chain.hpp), rotated at a size. It is an Observer whose writes are synchronous, because a
// required log must hold an entry before the thing happens; audited events are a few per stage.
// Thread-safe, and several processes may share one log.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/events/event.hpp"
#include "core/watch/audit/audit_record.hpp"

namespace hyperhost {

enum class AuditSync {
  kNever,       ///< leave it to the system
  kMilestones,  ///< fsync after the start and the end of each migration, and at rotation
  kAlways,      ///< fsync after each line
};

struct AuditOptions {
  std::filesystem::path path;
  bool required = false;              ///< a log that cannot be written stops migrations
  uint64_t max_bytes = 100ull << 20;  ///< rotate before a line would pass this
  unsigned keep = 10;                 ///< rotated files kept, 1 … 1000
  AuditSync sync = AuditSync::kMilestones;
  bool to_syslog = false, to_journald = false;  ///< a copy of each line; never waited for
  std::string syslog_socket = "/dev/log";
  std::string journald_socket = "/run/systemd/journal/socket";
  /// Called when writing begins to fail, on the thread that wrote, without locks held.
  std::function<void(const Diagnostic&)> on_failure;
};

class AuditLogger final : public Observer {
 public:
  /// Opens or creates the log (mode 0640), and its directory where only that is missing, and takes
  /// up its chain. A required log that cannot be
  /// opened for writing throws Error; another one reports through on_failure and tries again with
  /// each entry.
  static std::unique_ptr<AuditLogger> open(AuditOptions options);
  ~AuditLogger() override;

  void on_event(const Event& event) noexcept override;
  /// Writes one entry; false when it was lost. For what is no event: api_access, config_change.
  bool log(const AuditRecord& record) noexcept;

  /// False when the newest entry could not be written. Before touching a source the orchestrator
  /// publishes TaskStarted and then asks: `required() && !healthy()` means stop.
  bool healthy() const;
  bool required() const;
  /// Why the newest entry was lost; meaningful while !healthy().
  Diagnostic failure() const;
  uint64_t written() const;
  uint64_t lost() const;         ///< entries the log does not have
  uint64_t copies_lost() const;  ///< entries syslog or journald did not take

 private:
  struct State;
  explicit AuditLogger(AuditOptions options);
  std::unique_ptr<State> state_;
};

}  // namespace hyperhost
