// SPDX-License-Identifier: Apache-2.0
// The smallest host that can run the local-ovf plugin: options from JSON, diagnostics kept, and
// the plugin's tables behind exceptions-free calls. Loads the real .so through the one symbol it
// exports. One thread, but for what the plugin itself starts.
#pragma once

#include <dlfcn.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <hyper/hyper.h>
#include <nlohmann/json.hpp>

#include "core/plugin/documents.hpp"

namespace ovf_test {

using Json = nlohmann::json;

struct Diagnostic {
  int32_t severity;
  hyper_st code;
  std::string summary, detail, hint, path;
  bool retryable;
  std::string text() const { return summary + " | " + detail + " | " + hint; }
};

/// What stands behind the opaque hyper_op.
class Operation {
 public:
  Operation() : cancel_fd_(eventfd(0, EFD_CLOEXEC)) {}
  ~Operation() { close(cancel_fd_); }
  hyper_op* raw() { return reinterpret_cast<hyper_op*>(this); }
  void cancel() {
    cancelled_ = true;
    const uint64_t one = 1;
    if (write(cancel_fd_, &one, sizeof one) != sizeof one) std::abort();
  }
  std::vector<Diagnostic> diagnostics() {
    const std::lock_guard lock(mutex_);
    return diagnostics_;
  }
  /// The last error's text, or "".
  std::string error() {
    std::string out;
    for (const Diagnostic& diagnostic : diagnostics())
      if (diagnostic.severity == HYPER_SEVERITY_ERROR) out = diagnostic.text();
    return out;
  }

  std::mutex mutex_;
  std::vector<Diagnostic> diagnostics_;
  std::atomic<bool> cancelled_{false};
  int cancel_fd_;
};

inline Operation* of(hyper_op* op) {
  return reinterpret_cast<Operation*>(op);
}

inline std::string text_or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

inline hyper_st host_report(hyper_op* op, const hyper_diag* diag) noexcept {
  if (op == nullptr) return diag->code;
  const std::lock_guard lock(of(op)->mutex_);
  of(op)->diagnostics_.push_back({diag->severity, diag->code, text_or_empty(diag->summary),
                                  text_or_empty(diag->detail), text_or_empty(diag->hint),
                                  text_or_empty(diag->path),
                                  (diag->flags & HYPER_DIAG_RETRYABLE) != 0});
  return diag->code;
}

inline const hyper_host& host_table() {
  static const hyper_host table = [] {
    hyper_host made{};
    made.size = sizeof made;
    made.abi_minor = HYPER_ABI_MINOR;
    made.get_ext = [](const char*) noexcept -> const void* { return nullptr; };
    made.report = &host_report;
    made.log = [](hyper_op*, int32_t, const char*, const hyper_doc*) noexcept {};
    made.progress = [](hyper_op*, uint64_t, uint64_t, const char*) noexcept {};
    made.cancelled = [](hyper_op* op) noexcept -> int32_t {
      return op != nullptr && of(op)->cancelled_ ? 1 : 0;
    };
    made.cancel_fd = [](hyper_op* op) noexcept -> int32_t { return of(op)->cancel_fd_; };
    made.sleep = [](hyper_op* op, uint64_t ns) noexcept -> hyper_st {
      pollfd wait{of(op)->cancel_fd_, POLLIN, 0};
      return poll(&wait, 1, static_cast<int>(ns / 1'000'000)) > 0 ? HYPER_CANCELLED : HYPER_OK;
    };
    made.buf_alloc = [](uint64_t len) noexcept -> void* {
      return std::aligned_alloc(4096, (len + 4095) / 4096 * 4096);
    };
    made.buf_free = [](void* buffer) noexcept { std::free(buffer); };
    hyperhost::add_document_calls(made);
    return made;
  }();
  return table;
}

/// The plugin's provider table; loaded once.
inline const hyper_provider& provider() {
  static const hyper_provider* const table = [] {
    void* library = dlopen(LOCAL_OVF_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    const auto entry = reinterpret_cast<hyper_plugin_entry>(dlsym(library, HYPER_ENTRY_SYMBOL));
    char refusal[200] = {};
    const hyper_hello hello = {sizeof hello, HYPER_ABI_MINOR, 0, refusal, sizeof refusal};
    const hyper_plugin* plugin = entry == nullptr ? nullptr : entry(&hello);
    if (plugin == nullptr) throw std::runtime_error("refused: " + std::string(refusal));
    if (plugin->start(&host_table(), nullptr) != HYPER_OK) throw std::runtime_error("start failed");
    return static_cast<const hyper_provider*>(plugin->get(HYPER_IFACE_PROVIDER));
  }();
  return *table;
}

inline hyper_st collect(void* arg, const char* json, uint64_t len) noexcept {
  static_cast<std::vector<Json>*>(arg)->push_back(Json::parse(json, json + len, nullptr, false));
  return HYPER_OK;
}

/// A disk's source, closed by the destructor.
class TestSource {
 public:
  TestSource() { table_.size = sizeof table_; }
  TestSource(const TestSource&) = delete;
  TestSource& operator=(const TestSource&) = delete;
  ~TestSource() {
    if (table_.close != nullptr) table_.close(table_.ctx, nullptr);
  }
  hyper_source* operator->() { return &table_; }
  hyper_source* out() { return &table_; }

  /// All bytes by next(); stops at an error.
  hyper_st stream(Operation& op, std::string& bytes) {
    for (;;) {
      hyper_span span{};
      const hyper_st status = table_.next(table_.ctx, op.raw(), 0, &span);
      if (status != HYPER_OK || span.len == 0) return status;
      bytes.append(static_cast<const char*>(span.data), span.len);
      table_.release(table_.ctx, &span);
    }
  }
  hyper_st finish(Operation& op, Json& result) {
    std::vector<Json> emitted;
    const hyper_st status = table_.finish(table_.ctx, op.raw(), 0, &collect, &emitted);
    if (!emitted.empty()) result = emitted.back();
    return status;
  }

 private:
  hyper_source table_{};
};

/// A connection, and at most one open VM; both ended by the destructor.
class Session {
 public:
  explicit Session(Json options) : options_{std::move(options)} {
    status_ = provider().connect(op.raw(), 0, &options_, &connection_);
  }
  ~Session() {
    if (vm_ != nullptr) provider().close_vm(vm_, op.raw(), HYPER_OK);
    if (connection_ != nullptr) provider().disconnect(connection_, op.raw());
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  hyper_st status() const { return status_; }  ///< of the last call
  std::vector<Json> list(const char* pattern = nullptr) {
    std::vector<Json> out;
    if (connection_ != nullptr)
      status_ = provider().list_vms(connection_, op.raw(), 0, pattern, &collect, &out);
    return out;
  }
  Json describe(const std::string& vm) {
    std::vector<Json> out;
    if (connection_ != nullptr)
      status_ = provider().describe_vm(connection_, op.raw(), 0, vm.c_str(), &collect, &out);
    return out.empty() ? Json() : out.back();
  }
  hyper_st preflight(const std::string& vm) {
    const hyper_doc request{Json({{"vm", vm}})};
    return status_ = provider().preflight(connection_, op.raw(), 0, &request);
  }
  hyper_st open_vm(const std::string& vm, const Json& content_ids = Json::object()) {
    const hyper_doc request{Json({{"vm", vm}, {"content_ids", content_ids}})};
    return status_ = provider().open_vm(connection_, op.raw(), 0, &request, &vm_);
  }
  hyper_st open_disk(const std::string& id, TestSource& out) {
    return status_ = provider().open_disk(vm_, op.raw(), HYPER_OPEN_SEEK, id.c_str(), out.out());
  }

  Operation op;

 private:
  hyper_doc options_;
  hyper_st status_ = HYPER_FAIL;
  void* connection_ = nullptr;
  void* vm_ = nullptr;
};

}  // namespace ovf_test
