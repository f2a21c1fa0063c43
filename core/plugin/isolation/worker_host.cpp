// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/worker_host.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <hyper/op.hpp>
#include <string_view>

#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost::isolation {
namespace {

Peer* conversation = nullptr;

std::string_view text_of(const char* text) {
  return text == nullptr ? std::string_view() : std::string_view(text);
}
std::string text_of(const hyper_doc* doc) {
  return doc == nullptr ? std::string() : doc->json.dump();
}

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept {
  if (diag == nullptr || diag->size < offsetof(hyper_diag, detail)) return HYPER_FAIL;
  hyper_diag full{};
  std::memcpy(&full, diag, std::min<std::size_t>(diag->size, sizeof full));
  try {
    Call call(*conversation, Verb::kReport, 0, op);
    const int64_t numbers[] = {full.severity, full.code, full.flags, full.native_code,
                               static_cast<int64_t>(full.retry_after_ns)};
    call.arguments().bytes(numbers, sizeof numbers);
    for (const char* text : {full.summary, full.detail, full.hint, full.path, full.rule})
      call.arguments().text(text_of(text));
    static_cast<void>(call.go());
  } catch (const std::exception&) {  // the returned status still reports the failure
  }
  return full.code;
}

void log(hyper_op* op, int32_t level, const char* message, const hyper_doc* fields) noexcept {
  if (message == nullptr || level < 0) return;
  try {
    if (!spdlog::should_log(static_cast<spdlog::level::level_enum>(std::min(level, 4)))) return;
    Call call(*conversation, Verb::kLog, 0, op);
    call.request.a = static_cast<uint64_t>(level);
    call.arguments().text(text_of(message).substr(0, 16 * 1024)).text(text_of(fields));
    static_cast<void>(call.go());
  } catch (...) {  // a lost log line must not fail an operation
    return;
  }
}

void progress(hyper_op* op, uint64_t done, uint64_t total, const char*) noexcept {
  if (op == nullptr) return;
  auto& self = *static_cast<WorkerOperation*>(op);
  if (!self.progress_is_due(done, total)) return;
  try {
    Call call(*conversation, Verb::kProgress, 0, op);
    call.request.a = done;
    call.request.b = total;
    static_cast<void>(call.go());
  } catch (...) {
    return;
  }
}

/// A table of the host process's services.
template <class Crossings, class Table>
const Table* services() {
  static const Table table = [] {
    Table made{};
    made.size = sizeof made;
    Crossings::fill(made);
    return made;
  }();
  return &table;
}

const void* get_ext(const char* id) noexcept {
  if (id == nullptr) return nullptr;
  const auto is = [id](const char* name) { return std::strcmp(id, name) == 0; };
  // Without an operation's checkpoint the host answers HYPER_UNSUPPORTED.
  if (is(HYPER_EXT_CHECKPOINT)) return services<CheckpointCalls, hyper_checkpoint>();
  const void* table = is(HYPER_EXT_JOURNAL) ? services<JournalCalls, hyper_journal>()
                      : is(HYPER_EXT_THROTTLE)
                          ? static_cast<const void*>(services<ThrottleCalls, hyper_throttle>())
                          : nullptr;
  if (table == nullptr) return host_table()->get_ext(id);
  // The host process serves these: they exist here only if it has them.
  const hyper_st status = guarded(nullptr, [&]() -> hyper_st {
    return call_over(services_of_host(), Verb::kHasExtension, nullptr, 0, id);
  });
  return status == HYPER_OK ? table : nullptr;
}

/// Null if the worker has no shared memory: payloads then carry all bytes.
SharedBuffers* buffers() {
  static SharedBuffers* const made =
      conversation->memory() ? new SharedBuffers(conversation->memory()) : nullptr;
  return made;
}

void* buf_alloc(uint64_t length) noexcept {
  try {
    void* const shared = buffers() == nullptr ? nullptr : buffers()->take(length);
    return shared != nullptr ? shared : host_table()->buf_alloc(length);
  } catch (const std::exception&) {
    return nullptr;
  }
}

void buf_free(void* buffer) noexcept {
  if (buffers() == nullptr || !buffers()->give_back(buffer)) host_table()->buf_free(buffer);
}

}  // namespace

Remote services_of_host() {
  return {{std::shared_ptr<void>(), conversation}, 0};  // the conversation never ends
}

const hyper_host* worker_host(Peer& peer) {
  conversation = &peer;
  static const hyper_host table = [] {
    hyper_host made = *host_table();
    made.get_ext = get_ext;
    made.report = report;
    made.log = log;
    made.progress = progress;
    made.buf_alloc = buf_alloc;
    made.buf_free = buf_free;
    return made;
  }();
  hyper::detail::host_slot() = &table;  // for the imported tables in this process
  return &table;
}

}  // namespace hyperhost::isolation
