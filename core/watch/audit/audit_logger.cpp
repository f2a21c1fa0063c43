// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_logger.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/watch/audit/audit_copy.hpp"
#include "core/watch/audit/audit_file.hpp"

namespace hyperhost {

namespace {

/// Of the log; its last level only, so that a slip of the pen makes no tree.
void make_directory(const std::filesystem::path& directory) {
  constexpr mode_t kMode = 0750;
  if (directory.empty() || ::mkdir(directory.c_str(), kMode) == 0 || errno == EEXIST) return;
  Diagnostic diagnostic =
      errno_error(errno, "cannot make the directory of the audit log " + directory.string())
          .diagnostic();
  diagnostic.hint = "make it, if it is spelt as you mean it: mkdir -p " + directory.string();
  throw Error(std::move(diagnostic));
}

}  // namespace

struct AuditLogger::State {
  explicit State(AuditOptions options_in)
      : options(std::move(options_in)), file(options.path, options.max_bytes, options.keep) {
    if (options.to_syslog) copies.emplace_back(AuditCopy::Format::kSyslog, options.syslog_socket);
    if (options.to_journald)
      copies.emplace_back(AuditCopy::Format::kJournald, options.journald_socket);
  }

  void write(const AuditRecord& record) {
    const bool sync = options.sync == AuditSync::kAlways ||
                      (options.sync == AuditSync::kMilestones && record.milestone);
    if (!healthy) make_directory(options.path.parent_path());
    const std::string line = file.append(audit_json(record), sync);
    ++written;
    for (AuditCopy& copy : copies) copy.send(line);
  }

  /// Entries lost in an outage cannot be had back, but that there was one belongs in the log.
  void write_gap() {
    AuditRecord gap;
    gap.event_type = "warning";
    gap.action = "entries_lost";
    gap.status = "warning";
    gap.success = false;
    gap.description = std::to_string(lost - lost_noted) + " entries before this one were lost";
    gap.error = to_string(failure);
    write(gap);
    lost_noted = lost;
  }

  const AuditOptions options;
  mutable std::mutex mutex;  // guards everything below
  AuditFile file;
  std::vector<AuditCopy> copies;
  bool healthy = true;
  Diagnostic failure;
  uint64_t written = 0, lost = 0, lost_noted = 0;
};

AuditLogger::AuditLogger(AuditOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}
AuditLogger::~AuditLogger() = default;

std::unique_ptr<AuditLogger> AuditLogger::open(AuditOptions options) {
  if (options.keep < 1 || options.keep > kAuditKeepLimit)
    throw Error(Code::kConfig, "the audit log can keep 1 to 1000 rotated files, not " +
                                   std::to_string(options.keep));
  std::unique_ptr<AuditLogger> logger(new AuditLogger(std::move(options)));
  State& state = *logger->state_;
  try {
    make_directory(state.options.path.parent_path());
    state.file.open();
  } catch (const Error& error) {
    if (state.options.required) throw;
    state.healthy = false;
    state.failure = error.diagnostic();
    state.failure.severity = Severity::kWarning;
    if (state.options.on_failure) state.options.on_failure(state.failure);
  }
  return logger;
}

void AuditLogger::on_event(const Event& event) noexcept {
  try {
    if (const auto record = audit_record(event)) log(*record);
  } catch (const std::exception&) {
    std::lock_guard lock(state_->mutex);
    ++state_->lost;
    state_->healthy = false;
  }
}

bool AuditLogger::log(const AuditRecord& record) noexcept {
  std::optional<Diagnostic> report;
  bool written = false;
  try {
    std::lock_guard lock(state_->mutex);
    State& state = *state_;
    try {
      if (state.lost != state.lost_noted) state.write_gap();
      state.write(record);
      state.healthy = written = true;
    } catch (const std::exception& exception) {
      const auto* error = dynamic_cast<const Error*>(&exception);
      state.failure =
          error ? error->diagnostic() : Error(Code::kFail, exception.what()).diagnostic();
      ++state.lost;
      if (state.healthy) report = state.failure;
      state.healthy = false;
    }
    if (report && !state.options.required) report->severity = Severity::kWarning;
  } catch (const std::exception&) {
    return false;  // out of memory while reporting a failure, which healthy() shows
  }
  // Outside the lock: the receiver may well publish a notice, which comes back here.
  if (report && state_->options.on_failure) state_->options.on_failure(*report);
  return written;
}

bool AuditLogger::healthy() const {
  std::lock_guard lock(state_->mutex);
  return state_->healthy;
}
bool AuditLogger::required() const {
  return state_->options.required;
}
Diagnostic AuditLogger::failure() const {
  std::lock_guard lock(state_->mutex);
  return state_->failure;
}
uint64_t AuditLogger::written() const {
  std::lock_guard lock(state_->mutex);
  return state_->written;
}
uint64_t AuditLogger::lost() const {
  std::lock_guard lock(state_->mutex);
  return state_->lost;
}
uint64_t AuditLogger::copies_lost() const {
  std::lock_guard lock(state_->mutex);
  uint64_t total = 0;
  for (const AuditCopy& copy : state_->copies) total += copy.lost();
  return total;
}

}  // namespace hyperhost
