// SPDX-License-Identifier: Apache-2.0
// The services of sdk/include/hyper/host.h. No function here may throw, because foreign code calls
// it.
#include <spdlog/spdlog.h>

#include <hyper/draft/listener.h>
#include <cstdlib>
#include <cstring>
#include <hyper/op.hpp>

#include "core/base/redactor.hpp"
#include "core/plugin/document_schema.hpp"
#include "core/plugin/operation.hpp"
#include "core/plugin/services/listener.hpp"

namespace hyperhost {
namespace {

Operation* operation(hyper_op* op) {
  return static_cast<Operation*>(op);
}

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept;

/// "hyper.checkpoint/1". The operation has the function that makes its disk's state durable.
hyper_st save_checkpoint(hyper_op* op, uint32_t flags, const hyper_doc* state) noexcept {
  constexpr uint64_t kMost = 16u << 20;
  if (flags != 0 || op == nullptr || !operation(op)->checkpoint()) return HYPER_UNSUPPORTED;
  Diagnostic failure;
  try {
    const std::string text = state == nullptr ? std::string() : state->json.dump();
    if (text.empty() || text.size() > kMost)
      throw Error(Code::kFail, "a checkpoint is empty or longer than 16 MiB");
    check_form("converter.state", state->json, "the plugin: save() of " HYPER_EXT_CHECKPOINT);
    operation(op)->checkpoint()(text);
    return HYPER_OK;
  } catch (const Error& error) {
    failure = error.diagnostic();
  } catch (const std::exception& error) {
    failure.summary = error.what();
  }
  const hyper_diag diag = diag_of(failure);
  return report(op, &diag);
}

const hyper_checkpoint* checkpoint_table() {
  static const hyper_checkpoint table = {sizeof(hyper_checkpoint), 0, save_checkpoint};
  return &table;
}

const void* get_ext(const char* id) noexcept {
  if (id != nullptr && std::strcmp(id, HYPER_EXT_SPAWN) == 0) return spawn_table();
  if (id != nullptr && std::strcmp(id, HYPER_EXT_LISTENER) == 0) return listener_table();
  if (id != nullptr && std::strcmp(id, HYPER_EXT_JOURNAL) == 0) return journal_table();
  if (id != nullptr && std::strcmp(id, HYPER_EXT_THROTTLE) == 0) return throttle_table();
  if (id != nullptr && std::strcmp(id, HYPER_EXT_CHECKPOINT) == 0) return checkpoint_table();
  return nullptr;
}

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept {
  if (diag == nullptr || diag->size < offsetof(hyper_diag, detail)) return HYPER_FAIL;
  try {
    if (op != nullptr)
      operation(op)->report(*diag);
    else if (diag->summary != nullptr)
      spdlog::warn("{}", Redactor::global().redact(diag->summary));
  } catch (...) {  // out of memory: the status still says that it failed
    return diag->code;
  }
  return diag->code;
}

void log(hyper_op* op, int32_t level, const char* message, const hyper_doc* fields) noexcept {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::trace,
                                                          spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  if (message == nullptr || level < 0) return;
  try {
    const auto chosen = kLevels[level > 4 ? 4 : level];
    if (!spdlog::should_log(chosen)) return;
    std::string text = op == nullptr ? std::string() : operation(op)->name() + ": ";
    text.append(message, ::strnlen(message, 16 * 1024));
    if (fields != nullptr) text.append(" ").append(fields->json.dump(), 0, 16 * 1024);
    spdlog::log(chosen, "{}", Redactor::global().redact(text));
  } catch (...) {  // a log line is not worth an operation
    return;
  }
}

void progress(hyper_op* op, uint64_t done, uint64_t total, const char*) noexcept {
  if (op == nullptr) return;
  try {
    operation(op)->progress(done, total);
  } catch (...) {
    return;
  }
}

int32_t cancelled(hyper_op* op) noexcept {
  return op != nullptr && operation(op)->cancel().cancelled() ? 1 : 0;
}

int32_t cancel_fd(hyper_op* op) noexcept {
  return op == nullptr ? -1 : operation(op)->cancel().fd();
}

hyper_st sleep(hyper_op* op, uint64_t ns) noexcept {
  if (op == nullptr) return HYPER_FAIL;
  const auto duration =
      std::chrono::nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX / 2)));
  return operation(op)->cancel().wait_for(duration) ? HYPER_OK : HYPER_CANCELLED;
}

void* buf_alloc(uint64_t len) noexcept {
  constexpr uint64_t kPage = 4096;
  if (len == 0 || len > (uint64_t{1} << 40)) return nullptr;
  return std::aligned_alloc(kPage, (len + kPage - 1) / kPage * kPage);
}

void buf_free(void* buffer) noexcept {
  std::free(buffer);
}

}  // namespace

const hyper_host* host_table() {
  static const hyper_host table = [] {
    hyper_host made{};
    made.size = sizeof made;
    made.abi_minor = HYPER_ABI_MINOR;
    made.get_ext = get_ext;
    made.report = report;
    made.log = log;
    made.progress = progress;
    made.cancelled = cancelled;
    made.cancel_fd = cancel_fd;
    made.sleep = sleep;
    made.buf_alloc = buf_alloc;
    made.buf_free = buf_free;
    add_document_calls(made);
    return made;
  }();
  // The core's own sources (files, blank disks) use the plugins' C++ face, which needs the table.
  // Set once, because a worker later puts its own table there.
  static const hyper_host* const for_the_core = hyper::detail::host_slot() = &table;
  return for_the_core;
}

}  // namespace hyperhost
