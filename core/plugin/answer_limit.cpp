// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/answer_limit.hpp"

#include <spdlog/spdlog.h>

#include <atomic>
#include <thread>

#include "core/os/blocked_signals.hpp"

namespace hyperhost {

void within(std::chrono::nanoseconds limit, const std::string& who, Operation& op,
            const std::function<void(Operation&)>& f) {
  if (limit.count() <= 0) return f(op);
  const std::string late_text =
      who + " has not answered for " +
      std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) + " s";
  const auto cancel = op.cancel().child(), answered = CancelSource::create();
  std::atomic<bool> late{false};
  Operation limited(op.name(), cancel, op.services(), op.send_limits());
  limited.on_notice([&op](const Diagnostic& notice) { op.report(diag_of(notice)); });
  std::jthread timer;
  {
    const BlockedSignals blocked;
    timer = std::jthread([&] {
      if (!answered->wait_for(limit)) return;
      late = true;
      spdlog::warn("{}; it is asked to stop", late_text);
      cancel->cancel();
    });
  }
  const std::shared_ptr<void> done(nullptr, [&](void*) { answered->cancel(); });
  try {
    f(limited);
  } catch (const Error& failure) {
    if (!late || op.cancel().cancelled()) throw;
    Diagnostic diagnostic;
    diagnostic.code = Code::kBusy;
    diagnostic.summary = late_text;
    diagnostic.detail = failure.what();
    diagnostic.hint = "batch.answer_timeout sets another time";
    diagnostic.retryable = true;
    throw Error(diagnostic);
  }
}

}  // namespace hyperhost
