// SPDX-License-Identifier: Apache-2.0
// The services of sdk/include/hyper/host.h. Nothing here may throw: each function is called by
// code that nobody here wrote.
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <cstring>
#include <hyper/op.hpp>

#include "core/base/redactor.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

Operation* operation(hyper_op* op) {
  return static_cast<Operation*>(op);
}

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept;

/// "hyper.checkpoint/1": the operation knows where its disk's state goes.
hyper_st save_checkpoint(hyper_op* op, const char* state, uint64_t length) noexcept {
  constexpr uint64_t kMost = 16u << 20;
  if (op == nullptr || !operation(op)->checkpoint()) return HYPER_UNSUPPORTED;
  Diagnostic failure;
  try {
    if (state == nullptr || length == 0 || length > kMost)
      throw Error(Code::kFail, "a checkpoint is empty or longer than 16 MiB");
    operation(op)->checkpoint()(std::string(state, length));
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

void log(hyper_op* op, int32_t level, const char* message, const char* kv_json) noexcept {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::trace,
                                                          spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  if (message == nullptr || level < 0) return;
  try {
    const auto chosen = kLevels[level > 4 ? 4 : level];
    if (!spdlog::should_log(chosen)) return;
    std::string text = op == nullptr ? std::string() : operation(op)->name() + ": ";
    text.append(message, ::strnlen(message, 16 * 1024));
    if (kv_json != nullptr) text.append(" ").append(kv_json, ::strnlen(kv_json, 16 * 1024));
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

/// nullptr where there is no such value.
const nlohmann::json* lookup(const hyper_cfg* cfg, const char* pointer) {
  if (cfg == nullptr || pointer == nullptr) return nullptr;
  try {
    const nlohmann::json::json_pointer at(pointer);
    const auto& value = static_cast<const Options*>(cfg)->value();
    return value.contains(at) ? &value.at(at) : at.empty() ? &value : nullptr;
  } catch (const nlohmann::json::exception&) {
    return nullptr;
  }
}

hyper_st cfg_get(const hyper_cfg* cfg, const char* pointer, hyper_val* out) noexcept {
  try {
    const nlohmann::json* value = lookup(cfg, pointer);
    if (value == nullptr || out == nullptr) return HYPER_NOTFOUND;
    hyper_val result{};
    result.size = std::min<uint32_t>(out->size, sizeof result);
    if (value->is_boolean()) {
      result.type = HYPER_VAL_BOOL;
      result.i64 = value->get<bool>() ? 1 : 0;
    } else if (value->is_number_integer()) {
      result.type = HYPER_VAL_INT;
      result.i64 = value->get<int64_t>();
    } else if (value->is_number()) {
      result.type = HYPER_VAL_FLOAT;
      result.f64 = value->get<double>();
    } else if (value->is_string()) {
      const auto& text = value->get_ref<const std::string&>();
      result.type = HYPER_VAL_STRING;
      result.str = text.c_str();
      result.len = text.size();
    } else if (value->is_array() || value->is_object()) {
      result.type = value->is_array() ? HYPER_VAL_ARRAY : HYPER_VAL_OBJECT;
      result.len = value->size();
    }
    std::memcpy(out, &result, result.size);
    return HYPER_OK;
  } catch (...) {
    return HYPER_FAIL;
  }
}

hyper_st cfg_json(const hyper_cfg* cfg, const char* pointer, hyper_emit emit, void* arg) noexcept {
  try {
    const nlohmann::json* value = lookup(cfg, pointer);
    if (value == nullptr || emit == nullptr) return HYPER_NOTFOUND;
    const std::string text = value->dump();
    return emit(arg, text.data(), text.size());
  } catch (...) {
    return HYPER_FAIL;
  }
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
  static const hyper_host table = {
      sizeof(hyper_host), HYPER_ABI_MINOR, get_ext, report,   log,       progress, cancelled,
      cancel_fd,          sleep,           cfg_get, cfg_json, buf_alloc, buf_free,
  };
  // The core's own sources (files, blank disks) are written with the plugins' C++ face. Once: a
  // worker puts another table there.
  static const hyper_host* const for_the_core = hyper::detail::host_slot() = &table;
  return for_the_core;
}

}  // namespace hyperhost
