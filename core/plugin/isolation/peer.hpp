// SPDX-License-Identifier: Apache-2.0
// One end of the conversation with the other process; host and worker use the same class. A call to
// the other side takes a lane of its own. A call from the other side runs on a thread of its own.
// Each object that the other side may name (source, sink, emitter, operation) has a number.
// Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <typeindex>
#include <vector>

#include "core/plugin/isolation/lane.hpp"
#include "core/plugin/isolation/shared_memory.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost::isolation {

/// The most bytes of one read or of a span that is lent (a write is one call), and the most extents
/// of one answer.
inline constexpr uint64_t kPiece = 4u << 20;
inline constexpr uint64_t kMostExtents = 64 * 1024;

class Peer {
 public:
  /// Serves one call: reads the payload from the lane, writes an answer there, returns its frame.
  using Serve = std::function<Frame(const Frame& request, Lane& lane)>;

  Peer(Fd control, bool host, Serve serve);
  /// Begins to listen. Call it once, after everything that `serve` and the functions below use is
  /// ready. Host: `memory` is the worker's shared memory, or null.
  void start(std::shared_ptr<SharedMemory> memory = nullptr);
  /// Ends the conversation. The other end notices it.
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// A lane for a call to the other side. The destructor returns it.
  class Outgoing {
   public:
    explicit Outgoing(Peer& peer) : peer_(peer), lane_(peer.take_lane()) {}
    ~Outgoing() { peer_.give_back(std::move(lane_)); }
    Outgoing(const Outgoing&) = delete;
    Outgoing& operator=(const Outgoing&) = delete;
    Lane& lane() { return *lane_; }

   private:
    Peer& peer_;
    std::unique_ptr<Lane> lane_;
  };

  /// Sends a request and waits for the answer. The host passes its operation: a cancel is forwarded
  /// to the worker. A worker that does not answer 3 s after a cancel, or makes no call for `stall`,
  /// is killed through on_hang. Throws PeerGone.
  Frame call(Lane& lane, const Frame& request, Operation* op);
  /// At the host: the oldest call that has no answer, also after the worker's end.
  std::optional<Frame> unanswered();

  bool is_host() const { return host_; }

  /// The worker's shared memory, or null. The worker knows it before the first call.
  const std::shared_ptr<SharedMemory>& memory() const { return memory_; }
  /// Puts the place of `data`, to which the other side will write, into a request. False: the data
  /// does not lie in shared memory, so the payload must carry it.
  bool name_to_write(Frame& request, void* data, uint64_t length) const;
  /// As name_to_write for data that the other side only reads. At the host the data may lie in the
  /// memory of another worker.
  bool name_to_read(Frame& request, const void* data, uint64_t length);
  /// The bytes that a request from the other side names. Throws Error if the other side may not
  /// name them.
  unsigned char* named_to_write(const Frame& request, uint64_t length) const;
  const unsigned char* named_to_read(const Frame& request, uint64_t length);

  /// Worker: gives the host a descriptor, which the host takes by its number.
  void hand_over(uint64_t number, int fd);
  /// Host: the descriptor of that number; waits until it comes. Throws PeerGone.
  Fd handed_over(uint64_t number);

  /// Why the other side is gone, for a diagnostic: a status, and a sentence. Details follow a \n.
  std::function<std::pair<hyper_st, std::string>()> why_gone;
  /// Called when the other side does not answer. It ends the other side.
  std::function<void(const std::string& why)> on_hang;
  std::chrono::milliseconds stall{600'000};

  /// Gives an object a number by which the other side may name it. No number is used twice.
  template <class T>
  uint64_t add(std::shared_ptr<T> object) {
    return add(std::move(object), typeid(T));
  }
  /// The object of that number and type, or null.
  template <class T>
  std::shared_ptr<T> find(uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() || found->second.second != typeid(T)
               ? nullptr
               : std::static_pointer_cast<T>(found->second.first);
  }
  /// Removes the number. The object ends with its last owner.
  void remove(uint64_t id);
  /// Removes the number and waits until no call from the other side uses the object. The caller is
  /// then the last owner.
  template <class T>
  void take_back(uint64_t id, const std::shared_ptr<T>& object) {
    std::unique_lock lock(mutex_);
    objects_.erase(id);
    served_.wait(lock, [&] { return object.use_count() == 1; });
  }

  /// Operations by number. The host has its own, the worker those that stand for them.
  uint64_t enter(Operation* op);
  /// At the host it waits until this side serves no more calls for the operation.
  void leave(uint64_t id, Operation* op);
  void enter_as(uint64_t id, Operation* op);
  Operation* operation(uint64_t id);

  bool gone() const { return gone_; }
  void set_gone() { gone_ = true; }
  /// The worker's last call: waits until the host ends the conversation, then detaches all threads.
  /// The process must end without waiting for them.
  void wait_until_gone();

 private:
  std::unique_ptr<Lane> take_lane();
  void give_back(std::unique_ptr<Lane> lane);
  void control_loop();
  void serve_loop(std::unique_ptr<Lane> lane);
  void add_serving(std::unique_ptr<Lane> lane);
  void make_lane(bool incoming);
  Frame serve_one(const Frame& request, Lane& lane);
  Frame wait_for_answer(Lane& lane, const Frame& request, Operation* op);

  const Fd control_;
  const bool host_;
  const Serve serve_;
  std::shared_ptr<SharedMemory> memory_;
  std::mutex lend_mutex_;  // guards lent_: lent memory by number. The host stores null pointers
  std::condition_variable lent_changed_;
  std::map<uint64_t, std::shared_ptr<SharedMemory>> lent_;
  std::map<uint64_t, Fd> handed_;  // to the host, not yet taken; guarded by lend_mutex_
  std::mutex mutex_;
  std::condition_variable idle_changed_, served_, ended_;
  std::vector<uint64_t> serving_for_;  // the operations of the calls that this side serves now
  std::vector<std::unique_ptr<Lane>> idle_;
  std::size_t lanes_ = 0;
  uint64_t add(std::shared_ptr<void> object, std::type_index type);
  std::map<uint64_t, std::pair<std::shared_ptr<void>, std::type_index>> objects_;
  std::multimap<uint64_t, Operation*> operations_;
  std::list<Frame> unanswered_;  // calls to the worker, the oldest first
  uint64_t next_id_ = 1;
  std::atomic<bool> gone_{false};
  std::atomic<uint64_t> heard_{0};  // the number of calls from the other side: signs of life
  std::mutex threads_mutex_;
  std::vector<std::thread> threads_;
  std::vector<int> serving_;
  std::vector<std::unique_ptr<Lane>> closed_;
  std::thread control_thread_;
};

}  // namespace hyperhost::isolation
