// SPDX-License-Identifier: Apache-2.0
// The serving side: sources and sinks that the other process may use. Thread-safe as their tables
// are.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

struct OfferedSource;

/// What was opened through a table that is offered, while it is there.
class OpenedThrough {
 public:
  void add(uint64_t id, const std::shared_ptr<OfferedSource>& opened);
  void take_back(Peer& peer);

 private:
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, std::weak_ptr<OfferedSource>>> opened_;
};

/// Keeps the calls that are in a table at once to what it allows, however many a worker makes.
class Turns {
 public:
  class Turn {
   public:
    Turn(Turns& turns, uint32_t most) : turns_(turns) {
      std::unique_lock lock(turns_.mutex_);
      turns_.ended_.wait(lock, [&] { return turns_.taken_ < std::max(1u, most); });
      ++turns_.taken_;
    }
    ~Turn() {
      const std::lock_guard lock(turns_.mutex_);
      --turns_.taken_;
      turns_.ended_.notify_one();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Turns& turns_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  uint32_t taken_ = 0;
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
  Turns turns;
  ~OfferedSource();
  /// Closes what is owned.
  void end(hyper_op* op);
};
struct OfferedSink {
  hyper_sink table{};
  bool owned = false;
  OpenedThrough opened;
  Turns turns;
  ~OfferedSink();
  void end(hyper_op* op);
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

}  // namespace hyperhost::isolation
