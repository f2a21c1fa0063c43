// SPDX-License-Identifier: Apache-2.0
// The host's side of a plugin call. A plugin sees an Operation as hyper_op, and Options as its
// options. An Operation collects the diagnostics of the calls made with it, passes warnings and
// progress on, and carries the cancel. Thread-safe. It must outlive the calls made with it.
#pragma once

#include <hyper/hyper.h>

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/bandwidth.hpp"
#include "core/base/cancel.hpp"
#include "core/base/diagnostic.hpp"
#include "core/plugin/documents.hpp"
#include "core/state/journal.hpp"

struct hyper_op {};

namespace hyperhost {

class Options : public hyper_doc {
 public:
  Options() : hyper_doc{nlohmann::json::object()} {}
  explicit Options(nlohmann::json value) : hyper_doc{std::move(value)} {}
  const nlohmann::json& value() const { return json; }
};

/// The services that the host lends to the calls of one session. Plain values, shared by its
/// operations.
struct OperationServices {
  std::shared_ptr<Journal> journal;  ///< null = the session keeps no journal
};

class Operation : public hyper_op {
 public:
  using OnNotice = std::function<void(const Diagnostic&)>;
  using OnProgress = std::function<void(uint64_t done, uint64_t total)>;
  /// Makes a converter's state durable; may throw Error.
  using OnCheckpoint = std::function<void(const std::string& state_json)>;

  /// name: the operation's name in log lines and messages, e.g. "web-01/disk-0".
  Operation(std::string name, std::shared_ptr<CancelSource> cancel, OperationServices services = {},
            SendLimits limits = {});

  /// Called for each warning and note, on the plugin's thread.
  void on_notice(OnNotice handler) { on_notice_ = std::move(handler); }
  /// Called at most every 100 ms, and once when a total is reached. `done` never decreases.
  void on_progress(OnProgress handler) { on_progress_ = std::move(handler); }
  void on_checkpoint(OnCheckpoint handler) { on_checkpoint_ = std::move(handler); }
  const OnCheckpoint& checkpoint() const { return on_checkpoint_; }

  /// Call it before the first call with this operation. Default: no limit.
  void limit_sending(SendLimits limits) { send_limits_ = std::move(limits); }
  const SendLimits& send_limits() const { return send_limits_; }

  const std::string& name() const { return name_; }
  const OperationServices& services() const { return services_; }
  CancelSource& cancel() const { return *cancel_; }

  /// All reported diagnostics, in order.
  std::vector<Diagnostic> diagnostics() const;

  /// Returns if the status is HYPER_OK. Else throws Error with the last error that was reported
  /// since the last check. If the plugin reported none, the Error says what failed and that the
  /// plugin gave no reason. `what`: "plugin 'acme': open_disk".
  void check(hyper_st status, const std::string& what);

  // Called by the host's table.
  void report(const hyper_diag& diag);
  void progress(uint64_t done, uint64_t total);

 private:
  const std::string name_;
  const std::shared_ptr<CancelSource> cancel_;
  const OperationServices services_;
  OnNotice on_notice_;
  OnProgress on_progress_;
  SendLimits send_limits_;
  OnCheckpoint on_checkpoint_;
  mutable std::mutex mutex_;
  std::vector<Diagnostic> diagnostics_;
  std::size_t checked_ = 0;  // diagnostics before this belong to calls that ended
  uint64_t done_ = 0;
  std::chrono::steady_clock::time_point last_progress_{};
};

/// The parts of the operation that opened a handle, kept for the operation that closes it.
struct Opener {
  std::string name = "close";
  OperationServices services;
  Opener() = default;
  explicit Opener(const Operation& op) : name(op.name()), services(op.services()) {}
};

/// The operation of a call that ends an object. It cannot be cancelled and has a time limit. It
/// logs the plugin's reports, because no caller is left to act on them.
class ClosingOperation : public Operation {
 public:
  static constexpr std::chrono::milliseconds kLimit{60'000};
  explicit ClosingOperation(const std::string& name, std::chrono::milliseconds limit = kLimit,
                            OperationServices services = {});
  ~ClosingOperation();
  ClosingOperation(const ClosingOperation&) = delete;
  ClosingOperation& operator=(const ClosingOperation&) = delete;
};
/// The ABI's form of a diagnostic. Its texts belong to the diagnostic and live as long as it does.
hyper_diag diag_of(const Diagnostic& diagnostic);
/// Reports a diagnostic to the operation and returns its status, for functions of the host's
/// tables.
hyper_st report_to(hyper_op* op, const Diagnostic& diagnostic) noexcept;

/// The table passed to every plugin's start(). Constant.
const hyper_host* host_table();

/// "core/plugin/services/spawn.cpp": the extension hyper.spawn/1.
const hyper_spawn* spawn_table();

/// "core/plugin/services/journal.cpp": the extension hyper.journal/1.
const hyper_journal* journal_table();

/// "core/base/bandwidth.cpp": the extension hyper.throttle/1.
const hyper_throttle* throttle_table();

/// Receives what a call emits. `receive` may throw: the call then fails, and rethrow() throws the
/// exception.
class EmitSink {
 public:
  using Receive = std::function<void(const std::string& json)>;
  explicit EmitSink(Receive receive) : receive_(std::move(receive)) {}
  static hyper_st emit(void* self, const char* json, uint64_t len) noexcept;
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  Receive receive_;
  std::exception_ptr error_;
};

/// The one JSON object that a call emits, parsed; {} if the call emits none. `f` gets (emit, arg)
/// and returns a status. An answer over 16 MiB, of another type, or that is not JSON is an error.
nlohmann::json emitted_object(Operation& op, const std::string& what,
                              const std::function<hyper_st(hyper_emit, void*)>& f);

/// Parses a plugin's answer. Throws Error(kFail) that names `what` if it is not a JSON object.
nlohmann::json parse_object(const std::string& text, const std::string& what);

}  // namespace hyperhost
