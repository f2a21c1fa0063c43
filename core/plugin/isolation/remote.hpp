// SPDX-License-Identifier: Apache-2.0
// Sources and sinks over a Peer, in either direction: offered ones are served to the other
// process, imported ones are tables whose functions ask the other process. Also the results that
// a call emits. Thread-safe as the tables are.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/plugin/handles.hpp"
#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

struct OfferedSource;
struct OfferedEmit {
  hyper_emit emit;
  void* arg;
};

/// A call that goes out: a lane, arguments, an answer. Where the other process is gone, the
/// constructor and go() throw an Error that says what of. When it ends, nothing that the other
/// side asked for in its name is still going on here.
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
  std::shared_ptr<OfferedEmit> emit_;
};

/// What an Error says, reported on `op`; the status to return.
hyper_st report_error(hyper_op* op, const Error& error);

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

/// What was opened through a table that is offered, while it is there.
class OpenedThrough {
 public:
  void add(uint64_t id, const std::shared_ptr<OfferedSource>& opened);
  void take_back(Peer& peer);

 private:
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, std::weak_ptr<OfferedSource>>> opened_;
};

/// What is served: a table that is owned (closed with the object) or borrowed for a call.
struct OfferedSource {
  hyper_source table{};
  bool owned = false;
  std::mutex mutex;  // of what follows: next() hands a long span out in pieces
  hyper_span span{};
  uint64_t given = 0;
  std::shared_ptr<void> keep;
  OpenedThrough opened;
  ~OfferedSource();
};
struct OfferedSink {
  hyper_sink table{};
  bool owned = false;
  OpenedThrough opened;
  ~OfferedSink();
};

/// Lends a source or a sink to the other process while this lives. Its end waits until the other
/// side, which may have been killed in mid-call, uses it no more, and closes what was opened
/// through it: its owner may end it then.
template <class Offered, class Table>
class Lent {
 public:
  Lent(std::shared_ptr<Peer> peer, const Table& table)
      : peer_(std::move(peer)), offered_(std::make_shared<Offered>()) {
    offered_->table = table;
    id_ = peer_->add(offered_);
  }
  ~Lent() {
    peer_->take_back(id_, offered_);
    offered_->opened.take_back(*peer_);
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  uint64_t id() const { return id_; }

 private:
  const std::shared_ptr<Peer> peer_;
  const std::shared_ptr<Offered> offered_;
  uint64_t id_ = 0;
};

/// Serves a verb of sources, sinks or kEmit; false where it is none of these.
bool serve_table(Peer& peer, const Frame& request, Lane& lane, hyper_op* op, Frame& answer);

/// How the serving side emits: to the other side's emitter of that number.
struct EmitBack {
  Peer& peer;
  uint64_t id;
  static hyper_st emit(void* self, const char* json, uint64_t len) noexcept;
};

}  // namespace hyperhost::isolation
