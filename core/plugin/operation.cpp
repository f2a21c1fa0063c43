// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/operation.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace hyperhost {
namespace {
constexpr std::size_t kMaxDiagnostics = 1000;  // per operation, so that a plugin cannot fill memory
constexpr std::size_t kMaxText = 16 * 1024;
constexpr uint64_t kMaxAnswer = 16u << 20;

std::string bounded(const char* text) {
  if (text == nullptr) return {};
  return std::string(text, ::strnlen(text, kMaxText));
}

Code code_of(hyper_st status) {
  return status < static_cast<hyper_st>(Code::kExists) || status > 0 ? Code::kFail
                                                                     : static_cast<Code>(status);
}
}  // namespace

Operation::Operation(std::string name, std::shared_ptr<CancelSource> cancel,
                     OperationServices services, SendLimits limits)
    : name_(std::move(name)),
      cancel_(std::move(cancel)),
      services_(std::move(services)),
      send_limits_(std::move(limits)) {}

std::vector<Diagnostic> Operation::diagnostics() const {
  const std::lock_guard lock(mutex_);
  return diagnostics_;
}

hyper_diag diag_of(const Diagnostic& diagnostic) {
  const auto text = [](const std::string& of) { return of.empty() ? nullptr : of.c_str(); };
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = static_cast<int32_t>(diagnostic.severity);
  diag.code = static_cast<hyper_st>(diagnostic.code);
  diag.flags = diagnostic.retryable ? HYPER_DIAG_RETRYABLE : 0u;
  diag.summary = diagnostic.summary.c_str();
  diag.detail = text(diagnostic.detail);
  diag.hint = text(diagnostic.hint);
  diag.path = text(diagnostic.path);
  diag.native_code = diagnostic.native_code;
  diag.retry_after_ns = static_cast<uint64_t>(std::max<int64_t>(diagnostic.retry_after.count(), 0));
  return diag;
}

hyper_st report_to(hyper_op* op, const Diagnostic& diagnostic) noexcept {
  const hyper_diag diag = diag_of(diagnostic);
  host_table()->report(op, &diag);
  return diag.code;
}

void Operation::report(const hyper_diag& diag) {
  // Fields beyond the reporter's size read as zero.
  hyper_diag full{};
  std::memcpy(&full, &diag, std::min<std::size_t>(diag.size, sizeof full));
  Diagnostic diagnostic;
  diagnostic.severity = static_cast<Severity>(std::clamp(full.severity, 0, 2));
  diagnostic.code =
      full.code == 0 && diagnostic.severity == Severity::kError ? Code::kFail : code_of(full.code);
  diagnostic.summary = bounded(full.summary);
  diagnostic.detail = bounded(full.detail);
  diagnostic.hint = bounded(full.hint);
  diagnostic.path = bounded(full.path);
  diagnostic.rule = bounded(full.rule);
  diagnostic.retryable = (full.flags & HYPER_DIAG_RETRYABLE) != 0;
  diagnostic.native_code = full.native_code;
  diagnostic.retry_after = std::chrono::nanoseconds(
      static_cast<int64_t>(std::min<uint64_t>(full.retry_after_ns, INT64_MAX)));
  {
    const std::lock_guard lock(mutex_);
    if (diagnostics_.size() >= kMaxDiagnostics && diagnostic.severity != Severity::kError) return;
    if (diagnostics_.size() >= 2 * kMaxDiagnostics) diagnostics_.pop_back();
    checked_ = std::min(checked_, diagnostics_.size());
    diagnostics_.push_back(diagnostic);
  }
  if (diagnostic.severity != Severity::kError && on_notice_) on_notice_(diagnostic);
}

void Operation::progress(uint64_t done, uint64_t total) {
  if (!on_progress_) return;
  if (total != 0) done = std::min(done, total);
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    const bool last = total != 0 && done == total && done_ < total;
    if (done < done_ || (!last && now - last_progress_ < std::chrono::milliseconds(100))) return;
    done_ = done;
    last_progress_ = now;
  }
  on_progress_(done, total);
}

void Operation::check(hyper_st status, const std::string& what) {
  if (status == HYPER_OK) return;
  Diagnostic found;
  bool any = false;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = checked_; i < diagnostics_.size(); ++i) {
      if (diagnostics_[i].severity != Severity::kError) continue;
      if (any && diagnostics_[i].code == Code::kCancelled) continue;  // the cause counts, not this
      found = diagnostics_[i];
      any = true;
    }
    checked_ = diagnostics_.size();
  }
  if (status == HYPER_CANCELLED && cancel_->cancelled()) throw Error(Code::kCancelled, "cancelled");
  if (!any) {
    found.code = code_of(status);
    found.summary = what + " failed with status " + code_name(found.code) + " (" +
                    std::to_string(status) + ") and gave no reason";
  }
  throw Error(found);
}

ClosingOperation::ClosingOperation(const std::string& name, std::chrono::milliseconds limit,
                                   OperationServices services)
    : Operation(name, CancelSource::after(limit), std::move(services)) {
  on_notice([name](const Diagnostic& notice) {
    spdlog::warn("{}: while closing: {}", name, to_string(notice));
  });
}

ClosingOperation::~ClosingOperation() {
  for (const Diagnostic& diagnostic : diagnostics())
    if (diagnostic.severity == Severity::kError)
      spdlog::error("{}: while closing: {}", name(), to_string(diagnostic));
}

hyper_st EmitSink::emit(void* self, const char* json, uint64_t len) noexcept {
  auto& sink = *static_cast<EmitSink*>(self);
  try {
    if (json == nullptr || len > kMaxAnswer)
      throw Error(Code::kFail, "a plugin's answer is larger than 16 MiB");
    sink.receive_(std::string(json, static_cast<std::size_t>(len)));
    return HYPER_OK;
  } catch (...) {
    sink.error_ = std::current_exception();
    return HYPER_FAIL;
  }
}

nlohmann::json parse_object(const std::string& text, const std::string& what) {
  auto value = parse_document(text);
  if (!value || !value->is_object())
    throw Error(Code::kFail, what + " did not answer with a JSON object");
  return std::move(*value);
}

nlohmann::json emitted_object(Operation& op, const std::string& what,
                              const std::function<hyper_st(hyper_emit, void*)>& f) {
  nlohmann::json answer = nlohmann::json::object();
  EmitSink sink([&](const std::string& text) { answer = parse_object(text, what); });
  const hyper_st status = f(&EmitSink::emit, &sink);
  sink.rethrow();
  op.check(status, what);
  return answer;
}

}  // namespace hyperhost
