// SPDX-License-Identifier: Apache-2.0
// A host in memory for the tests of a plugin's own classes: documents, reports, cancel, progress, a
// journal and a converter's states, without a plan, a process or a file. Part of the SDK, not of
// the ABI. One Host at a time in a process; it must outlive what is made with it. Any thread, but
// for the members that a test sets before its calls.
//
//   hyper::testing::Host host;
//   auto store = Store::connect(host.doc(R"({"path": "/tmp/x"})"), host.op());
//   EXPECT_THROW(store->get(host.op(), "absent"), hyper::Error);
//   EXPECT_TRUE(host.journal().empty());
#ifndef HYPER_TESTING_HOST_HPP
#define HYPER_TESTING_HOST_HPP

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../op.hpp"
#include "value.hpp"

namespace hyper::testing {

/// What was reported.
struct Report {
  int32_t severity = HYPER_SEVERITY_ERROR;
  hyper_st code = HYPER_FAIL;
  bool retryable = false;
  std::string summary, detail, hint, path;
};

class Host {
 public:
  Host() {
    current() = this;
    hyper::detail::host_slot() = &table();
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() {
    hyper::detail::host_slot() = nullptr;
    current() = nullptr;
  }

  /// What a plugin's start() gets.
  static const hyper_host& table() {
    static const hyper_host made = make_table();
    return made;
  }
  /// The operation of all calls: there is one.
  Op op() { return Op(reinterpret_cast<hyper_op*>(this)); }
  /// A document that lives as long as the host. Throws std::invalid_argument where it is no JSON.
  Doc doc(const std::string& json) {
    const std::lock_guard<std::mutex> lock(mutex_);
    documents_.push_back(parse(json));
    return Doc(reinterpret_cast<const hyper_doc*>(&documents_.back()));
  }

  /// From now on cancelled() says yes, and who sleeps wakes up. There is no descriptor: cancel_fd()
  /// gives -1, which poll() passes over.
  void cancel() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      cancelled_ = true;
    }
    wake_.notify_all();
  }
  bool keeps_journal = true;  ///< false: as `hyperhost list` has it
  bool keeps_states = true;   ///< of hyper.checkpoint/1

  std::vector<Report> reports() const { return copied(reports_); }
  std::vector<std::string> log() const { return copied(log_); }
  /// The open entries, as JSON, by their numbers. What is left at the end is what undo() would get.
  std::map<uint64_t, std::string> journal() const { return copied(journal_); }
  /// The states that a converter saved, as JSON, oldest first.
  std::vector<std::string> states() const { return copied(states_); }
  uint64_t done() const { return copied(done_); }
  bool progress_went_back() const { return copied(went_back_); }

 private:
  template <class T>
  T copied(const T& member) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return member;
  }
  static Host*& current() {
    static Host* host = nullptr;
    return host;
  }
  /// Calls without an operation are those of the one host, too.
  static Host& of(hyper_op*) { return *current(); }
  static Value& value(hyper_doc* doc) { return *reinterpret_cast<Value*>(doc); }
  static const Value* at(const hyper_doc* doc, const char* pointer) {
    if (doc == nullptr || pointer == nullptr) return nullptr;
    return find(*reinterpret_cast<const Value*>(doc), pointer);
  }
  static std::string text(const char* of) { return of == nullptr ? std::string() : of; }

  template <class F>
  static hyper_st guarded(hyper_st otherwise, F&& f) noexcept {
    try {
      return f();
    } catch (...) {
      return otherwise;
    }
  }

  static void hand_out(hyper_val made, hyper_val* out) {
    made.size = std::min<uint32_t>(out->size, sizeof made);
    std::memcpy(out, &made, made.size);
  }
  static hyper_val described(const Value& value) {
    hyper_val out{};
    out.type = value.type;
    out.i64 = value.integer;
    out.f64 = value.number;
    if (value.type == HYPER_VAL_STRING) {
      out.str = value.text.c_str();
      out.len = value.text.size();
    } else {
      out.len = value.items.size();
    }
    return out;
  }

  // --- the table ---

  static hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept {
    hyper_diag full{};
    std::memcpy(&full, diag, std::min<std::size_t>(diag->size, sizeof full));
    Host& self = of(op);
    const std::lock_guard<std::mutex> lock(self.mutex_);
    self.reports_.push_back({full.severity, full.code, (full.flags & HYPER_DIAG_RETRYABLE) != 0,
                             text(full.summary), text(full.detail), text(full.hint),
                             text(full.path)});
    return full.code;
  }
  static void write_log(hyper_op* op, int32_t, const char* message, const hyper_doc*) noexcept {
    const std::lock_guard<std::mutex> lock(of(op).mutex_);
    of(op).log_.push_back(text(message));
  }
  static void progress(hyper_op* op, uint64_t done, uint64_t, const char*) noexcept {
    const std::lock_guard<std::mutex> lock(of(op).mutex_);
    of(op).went_back_ = of(op).went_back_ || done < of(op).done_;
    of(op).done_ = done;
  }
  static hyper_st sleep(hyper_op* op, uint64_t ns) noexcept {
    Host& self = of(op);
    std::unique_lock<std::mutex> lock(self.mutex_);
    const auto most = std::chrono::nanoseconds(std::min<uint64_t>(ns, uint64_t{1} << 60));
    return self.wake_.wait_for(lock, most, [&] { return self.cancelled_; }) ? HYPER_CANCELLED
                                                                            : HYPER_OK;
  }
  static hyper_st doc_get(const hyper_doc* doc, const char* pointer, hyper_val* out) noexcept {
    return guarded(HYPER_NOTFOUND, [&]() -> hyper_st {
      const Value* found = at(doc, pointer);
      if (found == nullptr) return HYPER_NOTFOUND;
      hand_out(described(*found), out);
      return HYPER_OK;
    });
  }
  static hyper_st doc_key(const hyper_doc* doc, const char* pointer, uint64_t index,
                          hyper_val* out) noexcept {
    return guarded(HYPER_NOTFOUND, [&]() -> hyper_st {
      const Value* found = at(doc, pointer);
      if (found == nullptr || index >= found->keys.size()) return HYPER_NOTFOUND;
      hyper_val key{};
      key.type = HYPER_VAL_STRING;
      key.str = found->keys[index].c_str();
      key.len = found->keys[index].size();
      hand_out(key, out);
      return HYPER_OK;
    });
  }
  static hyper_st doc_emit(const hyper_doc* doc, const char* pointer, hyper_emit emit,
                           void* arg) noexcept {
    return guarded(HYPER_FAIL, [&]() -> hyper_st {
      const Value* found = at(doc, pointer);
      if (found == nullptr || emit == nullptr) return HYPER_NOTFOUND;
      const std::string json = print(*found);
      return emit(arg, json.data(), json.size());
    });
  }
  static hyper_st doc_parse(const char* json, uint64_t len, hyper_doc** out) noexcept {
    return guarded(HYPER_CORRUPT, [&]() -> hyper_st {
      *out = reinterpret_cast<hyper_doc*>(
          new Value(parse(std::string(json, static_cast<std::size_t>(len)))));
      return HYPER_OK;
    });
  }
  static hyper_doc* doc_new() noexcept {
    auto* made = new Value;
    made->type = HYPER_VAL_OBJECT;
    return reinterpret_cast<hyper_doc*>(made);
  }
  static hyper_st doc_set(hyper_doc* doc, const char* pointer, const hyper_val* from) noexcept {
    return guarded(HYPER_FAIL, [&]() -> hyper_st {
      hyper_val full{};
      std::memcpy(&full, from, std::min<std::size_t>(from->size, sizeof full));
      if (full.type < HYPER_VAL_NULL || full.type > HYPER_VAL_OBJECT) return HYPER_FAIL;
      Value made;
      made.type = full.type;
      if (full.type == HYPER_VAL_BOOL) made.integer = full.i64 != 0 ? 1 : 0;
      if (full.type == HYPER_VAL_INT) made.integer = full.i64;
      made.number = full.type == HYPER_VAL_INT     ? static_cast<double>(full.i64)
                    : full.type == HYPER_VAL_FLOAT ? full.f64
                                                   : 0;
      if (full.type == HYPER_VAL_STRING)
        made.text.assign(full.str, static_cast<std::size_t>(full.len));
      need_utf8(made.text);
      place(value(doc), pointer) = std::move(made);
      return HYPER_OK;
    });
  }
  static hyper_st doc_copy(hyper_doc* doc, const char* pointer, const hyper_doc* from,
                           const char* from_pointer) noexcept {
    return guarded(HYPER_FAIL, [&]() -> hyper_st {
      const Value* found = at(from, from_pointer);
      if (found == nullptr) return HYPER_NOTFOUND;
      Value copy = *found;  // the two may be one document
      place(value(doc), pointer) = std::move(copy);
      return HYPER_OK;
    });
  }

  // --- extensions ---

  static hyper_st journal_open(hyper_op* op, uint32_t, const hyper_doc* entry,
                               uint64_t* id) noexcept {
    Host& self = of(op);
    const std::lock_guard<std::mutex> lock(self.mutex_);
    if (!self.keeps_journal) return HYPER_UNSUPPORTED;
    *id = ++self.last_entry_;
    self.journal_[*id] = print(*at(entry, ""));
    return HYPER_OK;
  }
  static hyper_st journal_update(hyper_op* op, uint32_t, uint64_t id,
                                 const hyper_doc* entry) noexcept {
    Host& self = of(op);
    const std::lock_guard<std::mutex> lock(self.mutex_);
    const auto found = self.journal_.find(id);
    if (found == self.journal_.end()) return HYPER_NOTFOUND;
    found->second = print(*at(entry, ""));
    return HYPER_OK;
  }
  static hyper_st journal_close(hyper_op* op, uint32_t, uint64_t id) noexcept {
    const std::lock_guard<std::mutex> lock(of(op).mutex_);
    return of(op).journal_.erase(id) == 1 ? HYPER_OK : HYPER_NOTFOUND;
  }
  static hyper_st journal_list(hyper_op* op, uint32_t, const char* plugin, hyper_emit emit,
                               void* arg) noexcept {
    if (!of(op).keeps_journal) return HYPER_UNSUPPORTED;
    return guarded(HYPER_FAIL, [&]() -> hyper_st {
      for (const auto& [id, json] : of(op).journal()) {
        Value entry = parse(json);
        const Value* owner = entry.member("plugin");
        if (owner == nullptr || owner->text != plugin) continue;
        place(entry, "/entry") = parse(std::to_string(id));
        place(entry, "/abandoned") = parse("false");
        const std::string listed = print(entry);
        const hyper_st status = emit(arg, listed.data(), listed.size());
        if (status != HYPER_OK) return status;
      }
      return HYPER_OK;
    });
  }
  static hyper_st save_state(hyper_op* op, uint32_t, const hyper_doc* state) noexcept {
    Host& self = of(op);
    const std::lock_guard<std::mutex> lock(self.mutex_);
    if (!self.keeps_states) return HYPER_UNSUPPORTED;
    self.states_.push_back(print(*at(state, "")));
    return HYPER_OK;
  }
  static hyper_st take(hyper_op* op, uint32_t, uint64_t) noexcept { return sleep(op, 0); }

  static const void* get_ext(const char* id) noexcept {
    static const hyper_journal journal{sizeof journal, 0,           journal_open, journal_update,
                                       journal_close,  journal_list};
    static const hyper_checkpoint checkpoint{sizeof checkpoint, 0, save_state};
    static const hyper_throttle throttle{sizeof throttle, 0, take};
    if (std::strcmp(id, HYPER_EXT_JOURNAL) == 0) return &journal;
    if (std::strcmp(id, HYPER_EXT_CHECKPOINT) == 0) return &checkpoint;
    return std::strcmp(id, HYPER_EXT_THROTTLE) == 0 ? &throttle : nullptr;
  }

  static hyper_host make_table() {
    hyper_host table{};
    table.size = sizeof table;
    table.abi_minor = HYPER_ABI_MINOR;
    table.get_ext = get_ext;
    table.report = report;
    table.log = write_log;
    table.progress = progress;
    table.cancelled = [](hyper_op* op) noexcept -> int32_t {
      return sleep(op, 0) == HYPER_CANCELLED ? 1 : 0;
    };
    table.cancel_fd = [](hyper_op*) noexcept -> int32_t { return -1; };
    table.sleep = sleep;
    table.doc_get = doc_get;
    table.doc_key = doc_key;
    table.doc_emit = doc_emit;
    table.doc_parse = doc_parse;
    table.doc_new = doc_new;
    table.doc_set = doc_set;
    table.doc_copy = doc_copy;
    table.doc_free = [](hyper_doc* doc) noexcept { delete reinterpret_cast<Value*>(doc); };
    table.buf_alloc = [](uint64_t len) noexcept -> void* {
      return std::aligned_alloc(4096, static_cast<std::size_t>((len + 4095) / 4096 * 4096));
    };
    table.buf_free = [](void* buffer) noexcept { std::free(buffer); };
    return table;
  }

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool cancelled_ = false;
  std::deque<Value> documents_;
  std::vector<Report> reports_;
  std::vector<std::string> log_, states_;
  std::map<uint64_t, std::string> journal_;
  uint64_t last_entry_ = 0, done_ = 0;
  bool went_back_ = false;
};

}  // namespace hyper::testing

#endif
