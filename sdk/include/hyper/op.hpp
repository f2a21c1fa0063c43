// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: the operation a call belongs to, the plugin's options, and JSON results.
// Op and Config are thin handles, valid for the call that received them.
#ifndef HYPER_OP_HPP
#define HYPER_OP_HPP

#include <string>
#include <type_traits>

#include "error.hpp"

namespace hyper {

/// The host's services. Set before start() runs.
inline const hyper_host& host() {
  return *detail::host_slot();
}

/// An extension's table, or nullptr where this host has none.
template <class Table>
const Table* extension(const char* id) {
  const hyper_host* table = detail::host_slot();
  return table == nullptr || table->get_ext == nullptr
             ? nullptr
             : static_cast<const Table*>(table->get_ext(id));
}

class Op {
 public:
  explicit Op(hyper_op* op) : op_(op) {}
  hyper_op* raw() const { return op_; }

  bool cancelled() const { return host().cancelled(op_) != 0; }
  /// Throws when the operation was cancelled: call it in every loop.
  void check_cancelled() const {
    if (cancelled()) throw Reported(HYPER_CANCELLED);
  }
  int cancel_fd() const { return host().cancel_fd(op_); }
  /// Waits; throws when cancelled.
  void sleep_ns(uint64_t ns) const { check(host().sleep(op_, ns)); }

  void progress(uint64_t done, uint64_t total, const char* phase = "") const {
    host().progress(op_, done, total, phase);
  }
  void log(int32_t level, const std::string& message, const char* kv_json = nullptr) const {
    host().log(op_, level, message.c_str(), kv_json);
  }
  void debug(const std::string& message) const { log(HYPER_LOG_DEBUG, message); }
  void info(const std::string& message) const { log(HYPER_LOG_INFO, message); }

  /// Reports without ending the call.
  void warn(const Error& finding) const { report(finding, HYPER_SEVERITY_WARNING); }
  void note(const Error& finding) const { report(finding, HYPER_SEVERITY_INFO); }
  void report(const Error& finding, int32_t severity) const {
    const hyper_diag diag = finding.diag(severity);
    host().report(op_, &diag);
  }

 private:
  hyper_op* op_;
};

namespace detail {
template <class F>
hyper_st emit_to(void* arg, const char* json, uint64_t len) noexcept {
  try {
    (*static_cast<F*>(arg))(std::string(json, static_cast<std::size_t>(len)));
    return HYPER_OK;
  } catch (...) {
    return HYPER_FAIL;
  }
}
}  // namespace detail

/// The options. Pointers are JSON Pointers (RFC 6901), e.g. "/tls/ca_file".
class Config {
 public:
  explicit Config(const hyper_cfg* cfg) : cfg_(cfg) {}
  const hyper_cfg* raw() const { return cfg_; }

  bool has(const std::string& pointer) const {
    hyper_val value = make();
    return get(pointer, value);
  }
  std::string string(const std::string& pointer, std::string otherwise = {}) const {
    hyper_val value = make();
    if (!get(pointer, value) || value.type != HYPER_VAL_STRING) return otherwise;
    return std::string(value.str, static_cast<std::size_t>(value.len));
  }
  int64_t integer(const std::string& pointer, int64_t otherwise = 0) const {
    hyper_val value = make();
    return get(pointer, value) && value.type == HYPER_VAL_INT ? value.i64 : otherwise;
  }
  double number(const std::string& pointer, double otherwise = 0) const {
    hyper_val value = make();
    if (!get(pointer, value)) return otherwise;
    if (value.type == HYPER_VAL_INT) return static_cast<double>(value.i64);
    return value.type == HYPER_VAL_FLOAT ? value.f64 : otherwise;
  }
  bool boolean(const std::string& pointer, bool otherwise = false) const {
    hyper_val value = make();
    return get(pointer, value) && value.type == HYPER_VAL_BOOL ? value.i64 != 0 : otherwise;
  }
  /// The number of elements or members; 0 for anything else.
  uint64_t size(const std::string& pointer) const {
    hyper_val value = make();
    if (!get(pointer, value)) return 0;
    return value.type == HYPER_VAL_ARRAY || value.type == HYPER_VAL_OBJECT ? value.len : 0;
  }
  /// The value as a JSON document. Contains resolved secrets.
  std::string json(const std::string& pointer = {}) const {
    std::string text;
    auto take = [&](std::string part) { text = std::move(part); };
    check(host().cfg_json(cfg_, pointer.c_str(), &detail::emit_to<decltype(take)>, &take));
    return text;
  }

 private:
  static hyper_val make() {
    hyper_val value{};
    value.size = sizeof value;
    return value;
  }
  bool get(const std::string& pointer, hyper_val& value) const {
    return cfg_ != nullptr && host().cfg_get(cfg_, pointer.c_str(), &value) == HYPER_OK;
  }
  const hyper_cfg* cfg_;
};

/// What is owed to the outside, by the host's journal. Every call throws where this host has none:
/// a change that cannot be written down is not to be made.
class Journal {
 public:
  /// False: the host keeps none for this operation.
  static bool kept(Op op) {
    const auto* table = extension<hyper_journal>(HYPER_EXT_JOURNAL);
    const hyper_emit ignore = [](void*, const char*, uint64_t) noexcept -> hyper_st {
      return HYPER_OK;
    };
    // No plugin has this id: the answer is empty and says only whether there is a journal.
    return table != nullptr && table->list(op.raw(), "-", ignore, nullptr) != HYPER_UNSUPPORTED;
  }
  static uint64_t open(Op op, const std::string& json) {
    uint64_t entry = 0;
    const hyper_st status = table().open(op.raw(), json.c_str(), &entry);
    if (status == HYPER_UNSUPPORTED) throw none();
    check(status);
    return entry;
  }
  static void update(Op op, uint64_t entry, const std::string& json) {
    check(table().update(op.raw(), entry, json.c_str()));
  }
  static void close(Op op, uint64_t entry) { check(table().close(op.raw(), entry)); }
  /// on_entry(std::string json), oldest first.
  template <class F>
  static void each(Op op, const char* plugin, F&& on_entry) {
    check(table().list(op.raw(), plugin, &detail::emit_to<std::remove_reference_t<F>>, &on_entry));
  }

 private:
  static const hyper_journal& table() {
    const auto* table = extension<hyper_journal>(HYPER_EXT_JOURNAL);
    if (table == nullptr) throw none();
    return *table;
  }
  static Error none() {
    return Error(HYPER_UNSUPPORTED, "this host keeps no journal: nothing may be changed");
  }
};

/// What a converter needs to go on in the middle of a disk.
class Checkpoint {
 public:
  /// False: nobody keeps it.
  static bool save(Op op, const std::string& state_json) {
    const auto* table = extension<hyper_checkpoint>(HYPER_EXT_CHECKPOINT);
    if (table == nullptr) return false;
    const hyper_st status = table->save(op.raw(), state_json.data(), state_json.size());
    if (status == HYPER_UNSUPPORTED) return false;
    check(status);
    return true;
  }
};

/// Where a call's JSON results go.
class Emit {
 public:
  Emit(hyper_emit emit, void* arg) : emit_(emit), arg_(arg) {}
  void operator()(const std::string& json) const {
    if (emit_ != nullptr) check(emit_(arg_, json.data(), json.size()));
  }

 private:
  hyper_emit emit_;
  void* arg_;
};

}  // namespace hyper

#endif
