// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/worker_host.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <hyper/op.hpp>
#include <string_view>

#include "core/plugin/isolation/call.hpp"
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

template <class F>
hyper_st host_call(Verb verb, hyper_op* op, uint32_t flags, F&& f) noexcept {
  try {
    Call call(*conversation, verb, 0, op);
    call.request.flags = flags;
    return f(call);
  } catch (...) {
    return HYPER_FAIL;
  }
}

hyper_st journal_open(hyper_op* op, uint32_t flags, const hyper_doc* what,
                      uint64_t* entry) noexcept {
  return host_call(Verb::kJournalOpen, op, flags, [&](Call& call) {
    call.arguments().text(text_of(what));
    const hyper_st status = call.go();
    if (status == HYPER_OK) *entry = call.answer.a;
    return status;
  });
}
hyper_st journal_update(hyper_op* op, uint32_t flags, uint64_t entry,
                        const hyper_doc* what) noexcept {
  return host_call(Verb::kJournalUpdate, op, flags, [&](Call& call) {
    call.request.a = entry;
    call.arguments().text(text_of(what));
    return call.go();
  });
}
hyper_st journal_close(hyper_op* op, uint32_t flags, uint64_t entry) noexcept {
  return host_call(Verb::kJournalClose, op, flags, [&](Call& call) {
    call.request.a = entry;
    return call.go();
  });
}
hyper_st journal_list(hyper_op* op, uint32_t flags, const char* id, hyper_emit emit,
                      void* arg) noexcept {
  return host_call(Verb::kJournalList, op, flags, [&](Call& call) {
    call.arguments().text(text_of(id));
    call.emit_to(emit, arg);
    return call.go();
  });
}

hyper_st throttle_take(hyper_op* op, uint32_t flags, uint64_t bytes) noexcept {
  return host_call(Verb::kThrottle, op, flags, [&](Call& call) {
    call.request.a = bytes;
    return call.go();
  });
}

hyper_st save_checkpoint(hyper_op* op, uint32_t flags, const hyper_doc* state) noexcept {
  return host_call(Verb::kCheckpoint, op, flags, [&](Call& call) {
    call.arguments().text(text_of(state));
    return call.go();
  });
}

const void* get_ext(const char* id) noexcept {
  static const hyper_checkpoint checkpoint = {sizeof checkpoint, 0, save_checkpoint};
  if (id != nullptr && std::strcmp(id, HYPER_EXT_CHECKPOINT) == 0) return &checkpoint;
  static const hyper_throttle throttle = {sizeof throttle, 0, throttle_take};
  static const hyper_journal journal = {sizeof journal, 0,           journal_open, journal_update,
                                        journal_close,  journal_list};
  if (id == nullptr) return nullptr;
  const void* table = std::strcmp(id, HYPER_EXT_JOURNAL) == 0 ? &journal
                      : std::strcmp(id, HYPER_EXT_THROTTLE) == 0
                          ? static_cast<const void*>(&throttle)
                          : nullptr;
  if (table == nullptr) return host_table()->get_ext(id);
  // The host process serves these: they exist here only if it has them.
  const hyper_st status = host_call(Verb::kHasExtension, nullptr, 0, [&](Call& call) {
    call.arguments().text(id);
    return call.go();
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
