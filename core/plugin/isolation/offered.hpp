// SPDX-License-Identifier: Apache-2.0
// The serving side of sources, sinks and blocks: the tables that the other process may use. As
// thread-safe as these tables.
#pragma once

#include <hyper/draft/block.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

struct OfferedSource;

/// The sources that the other side opened through an offered table, while they exist.
class OpenedThrough {
 public:
  void add(uint64_t id, const std::shared_ptr<OfferedSource>& opened);
  void take_back(Peer& peer);

 private:
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, std::weak_ptr<OfferedSource>>> opened_;
};

/// Limits the concurrent calls of a table to its max_parallel, however many a worker makes.
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

/// A table that this side serves. `owned`: it is closed with this object. Otherwise it is borrowed
/// for a call.
struct OfferedSource {
  hyper_source table{};
  bool owned = false;
  std::mutex mutex;  // guards `span` and `given`: kNext delivers a long span in pieces
  hyper_span span{};
  uint64_t given = 0;
  std::shared_ptr<void> keep;
  OpenedThrough opened;
  Turns turns;
  ~OfferedSource();
  /// Closes an owned table.
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

struct OfferedBlock {
  hyper_block table{};
  OpenedThrough opened;  // stays empty: nothing is opened through a block
  Turns turns;
};

/// Lends a source, a sink or a block to the other process while this lives. The destructor waits
/// until no call of the other side (which may have been killed in mid-call) uses the table, and
/// closes the sources that were opened through it. Then the table's owner may close it.
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

struct Incoming;
/// Serves a verb of sources, of sinks, of blocks, or kEmit. False: it is another verb.
bool serve_table(Incoming& call);

}  // namespace hyperhost::isolation
