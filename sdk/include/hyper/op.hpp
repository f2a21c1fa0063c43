// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: the operation that a call belongs to, the host's extensions, and Emit,
// which returns results. Op is a thin handle, valid for the call that received it.
#ifndef HYPER_OP_HPP
#define HYPER_OP_HPP

#include <string>
#include <type_traits>

#include "doc.hpp"

namespace hyper {

/// An extension's table, or nullptr if this host does not have the extension.
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
  /// Throws if the operation is cancelled. Call it in every loop.
  void check_cancelled() const {
    if (cancelled()) throw Reported(HYPER_CANCELLED);
  }
  int cancel_fd() const { return host().cancel_fd(op_); }
  /// Waits. Throws as soon as the operation is cancelled.
  void sleep_ns(uint64_t ns) const { check(host().sleep(op_, ns)); }

  void progress(uint64_t done, uint64_t total, const char* phase = "") const {
    host().progress(op_, done, total, phase);
  }
  void log(int32_t level, const std::string& message, const Doc& fields = {}) const {
    host().log(op_, level, message.c_str(), fields.raw());
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

/// The host's journal of changes outside the host that must be undone or confirmed. Every call
/// throws if the host keeps no journal: a plugin must not make a change that it cannot record.
class Journal {
 public:
  /// False: the host keeps no journal for this operation.
  static bool kept(Op op) {
    const auto* table = extension<hyper_journal>(HYPER_EXT_JOURNAL);
    const hyper_emit ignore = [](void*, const char*, uint64_t) noexcept -> hyper_st {
      return HYPER_OK;
    };
    // No plugin has this id: the answer is empty and says only whether there is a journal.
    return table != nullptr && table->list(op.raw(), 0, "-", ignore, nullptr) != HYPER_UNSUPPORTED;
  }
  static uint64_t open(Op op, const Doc& entry) {
    uint64_t id = 0;
    const hyper_st status = table().open(op.raw(), 0, entry.raw(), &id);
    if (status == HYPER_UNSUPPORTED) throw none();
    check(status);
    return id;
  }
  static void update(Op op, uint64_t id, const Doc& entry) {
    check(table().update(op.raw(), 0, id, entry.raw()));
  }
  /// The same with JSON text.
  static uint64_t open(Op op, const std::string& json) {
    return open(op, DocBuilder::parse(json).doc());
  }
  static void update(Op op, uint64_t id, const std::string& json) {
    update(op, id, DocBuilder::parse(json).doc());
  }
  static void close(Op op, uint64_t id) { check(table().close(op.raw(), 0, id)); }
  /// on_entry(std::string json), oldest first.
  template <class F>
  static void each(Op op, const char* plugin, F&& on_entry) {
    check(
        table().list(op.raw(), 0, plugin, &detail::emit_to<std::remove_reference_t<F>>, &on_entry));
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

/// Saves the state that a converter needs to resume in the middle of a disk.
class Checkpoint {
 public:
  /// False: the host keeps no state of this operation.
  static bool save(Op op, const std::string& state_json) {
    return save(op, DocBuilder::parse(state_json).doc());
  }
  static bool save(Op op, const Doc& state) {
    const auto* table = extension<hyper_checkpoint>(HYPER_EXT_CHECKPOINT);
    if (table == nullptr) return false;
    const hyper_st status = table->save(op.raw(), 0, state.raw());
    if (status == HYPER_UNSUPPORTED) return false;
    check(status);
    return true;
  }
};

/// Emits a call's results.
class Emit {
 public:
  Emit(hyper_emit emit, void* arg) : emit_(emit), arg_(arg) {}
  void operator()(const std::string& json) const {
    if (emit_ != nullptr) check(emit_(arg_, json.data(), json.size()));
  }
  void operator()(const Doc& doc) const { (*this)(doc.json()); }
  void operator()(const DocBuilder& built) const { (*this)(built.json()); }

 private:
  hyper_emit emit_;
  void* arg_;
};

}  // namespace hyper

#endif
