// SPDX-License-Identifier: Apache-2.0
// Sources and sinks over a Peer, in either direction: offered ones are served to the other
// process, imported ones are tables whose functions ask the other process. Also the results that
// a call emits. Thread-safe as the tables are.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "core/plugin/handles.hpp"
#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

/// A call that goes out: a lane, arguments, an answer. What fails is reported on `op` and its
/// status returned: the proxies end with `return call.go();`.
class Call {
 public:
  Call(Peer& peer, Verb verb, uint64_t object, hyper_op* op);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Frame request;
  Frame answer;
  PayloadWriter& arguments() { return arguments_; }
  Lane& lane() { return out_->lane(); }
  /// Results are emitted to it while the call runs.
  void emit_to(hyper_emit emit, void* arg);
  hyper_st go();
  /// The lane stays taken: a span lies in its memory. Ends with the last owner.
  std::shared_ptr<Peer::Outgoing> keep() { return out_; }

 private:
  Peer& peer_;
  hyper_op* op_;
  std::shared_ptr<Peer::Outgoing> out_;
  PayloadWriter arguments_;
};

/// Reports that the other process is gone; the status to return.
hyper_st report_gone(Peer& peer, hyper_op* op);

/// The number under which an operation is known to the other side, for calls in either direction.
uint64_t number_of(Peer& peer, hyper_op* op);
/// Worker: an operation that stands for one of the host's.
class WorkerOperation final : public Operation {
 public:
  WorkerOperation(uint64_t id, std::shared_ptr<CancelSource> cancel)
      : Operation("worker", std::move(cancel)), id_(id) {}
  uint64_t id() const { return id_; }
  /// Whether to tell the host: every 50 ms, and at the end.
  bool progress_is_due(uint64_t done, uint64_t total);

 private:
  const uint64_t id_;
  std::atomic<int64_t> told_at_{0};
};

// Descriptions travel as payload; the object's number in the frame.
void write_source(PayloadWriter& out, const hyper_source& table);
void write_sink(PayloadWriter& out, const hyper_sink& table);
/// Fills a table whose functions ask the other side about object `id`. `keep` lives as long.
void import_source(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                   hyper_source* out);
void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out);

/// What is served: a table that is owned (closed with the object) or borrowed for a call.
struct OfferedSource {
  hyper_source table{};
  bool owned = false;
  std::mutex mutex;  // of what follows: next() hands a long span out in pieces
  hyper_span span{};
  uint64_t given = 0;
  std::shared_ptr<void> keep;
  ~OfferedSource();
};
struct OfferedSink {
  hyper_sink table{};
  bool owned = false;
  ~OfferedSink();
};
struct OfferedEmit {
  hyper_emit emit;
  void* arg;
};

/// Serves a verb of sources, sinks or kEmit; false where it is none of these.
bool serve_table(const std::shared_ptr<Peer>& peer, const Frame& request, Lane& lane, hyper_op* op,
                 Frame& answer);

/// How the serving side emits: to the other side's emitter of that number.
struct EmitBack {
  Peer& peer;
  uint64_t id;
  static hyper_st emit(void* self, const char* json, uint64_t len) noexcept;
};

}  // namespace hyperhost::isolation
