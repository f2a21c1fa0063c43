// SPDX-License-Identifier: Apache-2.0
// A call to the other process, with the operation that it belongs to and the emitter of its
// results.
#pragma once

#include <atomic>
#include <hyper/error.hpp>
#include <memory>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

struct OfferedEmit {
  hyper_emit emit;
  void* arg;
};

/// A call to the other side: a lane, arguments, an answer. If the other process is gone, the
/// constructor and go() throw an Error with the cause. The destructor waits until this side serves
/// no more calls that the other side made for this one.
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
  /// The other side emits results to it while the call runs.
  void emit_to(hyper_emit emit, void* arg);
  /// Peer::name_to_read for this call.
  bool name_to_read(const void* data, uint64_t length);
  hyper_st go();
  /// Keeps the lane for a span that lies in its memory. The last owner returns the lane.
  std::shared_ptr<Peer::Outgoing> keep() { return out_; }

 private:
  Peer& peer_;
  hyper_op* op_;
  std::shared_ptr<Peer::Outgoing> out_;
  PayloadWriter arguments_;
  std::shared_ptr<OfferedEmit> emit_;
};

/// Reports an Error to `op` and returns its status.
hyper_st report_error(hyper_op* op, const Error& error);

/// Runs f and reports its exceptions to `op`.
template <class F>
hyper_st guarded(hyper_op* op, F&& f) noexcept {
  try {
    return f();
  } catch (const hyper::Reported& reported) {
    return reported.status();
  } catch (const Error& error) {
    return report_error(op, error);
  } catch (const std::exception&) {
    return HYPER_FAIL;
  }
}

/// The number of an operation in the frames of calls in either direction.
uint64_t number_of(Peer& peer, hyper_op* op);
/// In the worker: an operation that stands for one of the host's.
class WorkerOperation final : public Operation {
 public:
  WorkerOperation(uint64_t id, std::shared_ptr<CancelSource> cancel)
      : Operation("worker", std::move(cancel)), id_(id) {}
  uint64_t id() const { return id_; }
  /// Whether to report progress to the host: every 50 ms, and at the end.
  bool progress_is_due(uint64_t done, uint64_t total);

 private:
  const uint64_t id_;
  std::atomic<int64_t> reported_at_{0};
};

/// The emitter of the serving side: it calls the other side's emitter with that number.
struct EmitBack {
  Peer& peer;
  uint64_t id;
  static hyper_st emit(void* self, const char* json, uint64_t len) noexcept;
};

}  // namespace hyperhost::isolation
