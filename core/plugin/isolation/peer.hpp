// SPDX-License-Identifier: Apache-2.0
// One end of the conversation with the other process, the same for host and worker: calls go out
// on lanes of their own, calls come in on threads of their own, and what the other side may refer
// to (sources, sinks, emitters, operations) has a number. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <typeindex>
#include <vector>

#include "core/plugin/isolation/lane.hpp"
#include "core/plugin/isolation/shared_memory.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost::isolation {

/// The most bytes of one read or of a span that is handed out, and the most extents of one answer.
inline constexpr uint64_t kPiece = 4u << 20;
inline constexpr uint64_t kMostExtents = 64 * 1024;

class Peer {
 public:
  /// Serves one call: reads the payload from the lane, writes an answer there, returns its frame.
  using Serve = std::function<Frame(const Frame& request, Lane& lane)>;

  Peer(Fd control, bool host, Serve serve);
  /// Begins to listen; once, after what `serve` and the functions below use is in place. Host:
  /// `memory` is the worker's; null: it has none.
  void start(std::shared_ptr<SharedMemory> memory = nullptr);
  /// Ends the conversation: the other end sees it.
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// A lane for a call that goes out, given back by the destructor.
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

  /// Sends and waits. The host passes its operation: a cancel is told to the worker, and who does
  /// not answer it in time, or gives no sign of life for `stall`, is given up (on_hang). Throws
  /// PeerGone.
  Frame call(Lane& lane, const Frame& request, Operation* op);

  bool is_host() const { return host_; }

  /// The worker's memory, null where it has none. At the worker: known before the first call.
  const std::shared_ptr<SharedMemory>& memory() const { return memory_; }
  /// Names the place of bytes that the other side shall write to, if it can.
  bool name_to_write(Frame& request, void* data, uint64_t length) const;
  /// The same of bytes that it shall only read. At the host they may lie in another worker's.
  bool name_to_read(Frame& request, const void* data, uint64_t length);
  /// What a frame that came in names. Throws Error where it is none of the other side's business.
  unsigned char* named_to_write(const Frame& request, uint64_t length) const;
  const unsigned char* named_to_read(const Frame& request, uint64_t length);

  /// Why it is gone, for a diagnostic: status, and a sentence with details behind a line's end.
  std::function<std::pair<hyper_st, std::string>()> why_gone;
  /// Called instead of waiting on when the other side does not answer. It ends it.
  std::function<void(const std::string& why)> on_hang;
  std::chrono::milliseconds stall{600'000};

  /// What the other side may name. Ids are never used twice.
  template <class T>
  uint64_t add(std::shared_ptr<T> object) {
    return add(std::move(object), typeid(T));
  }
  /// Null where there is none of that number and type.
  template <class T>
  std::shared_ptr<T> find(uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() || found->second.second != typeid(T)
               ? nullptr
               : std::static_pointer_cast<T>(found->second.first);
  }
  /// Forgets it; the last owner ends it.
  void remove(uint64_t id);
  /// Forgets it and waits until no call that came in uses it. The caller is the last owner.
  template <class T>
  void take_back(uint64_t id, const std::shared_ptr<T>& object) {
    std::unique_lock lock(mutex_);
    objects_.erase(id);
    served_.wait(lock, [&] { return object.use_count() == 1; });
  }

  /// Operations by number: at the host its own, at the worker those that stand for them.
  uint64_t enter(Operation* op);
  /// At the host: waits until no call that came in for it is still served.
  void leave(uint64_t id, Operation* op);
  void enter_as(uint64_t id, Operation* op);
  Operation* operation(uint64_t id);

  bool gone() const { return gone_; }
  void set_gone() { gone_ = true; }
  /// Worker, and the last of what it does: until the host ends the conversation. Its threads are
  /// nobody's then; the process ends, whatever they are at.
  void wait_until_gone();

 private:
  std::unique_ptr<Lane> take_lane();
  void give_back(std::unique_ptr<Lane> lane);
  void control_loop();
  void serve_loop(std::unique_ptr<Lane> lane);
  void add_serving(std::unique_ptr<Lane> lane);
  void make_lane(bool incoming);
  Frame serve_one(const Frame& request, Lane& lane);

  const Fd control_;
  const bool host_;
  const Serve serve_;
  std::shared_ptr<SharedMemory> memory_;
  std::mutex lend_mutex_;  // of what it was lent, by number; at the host only that it was
  std::condition_variable lent_changed_;
  std::map<uint64_t, std::shared_ptr<SharedMemory>> lent_;
  std::mutex mutex_;
  std::condition_variable idle_changed_, served_, ended_;
  std::vector<uint64_t> serving_for_;  // the operations of the calls that are being served
  std::vector<std::unique_ptr<Lane>> idle_;
  std::size_t lanes_ = 0;
  uint64_t add(std::shared_ptr<void> object, std::type_index type);
  std::map<uint64_t, std::pair<std::shared_ptr<void>, std::type_index>> objects_;
  std::multimap<uint64_t, Operation*> operations_;
  uint64_t next_id_ = 1;
  std::atomic<bool> gone_{false};
  std::atomic<uint64_t> heard_{0};  // calls that came in: signs of life
  std::mutex threads_mutex_;
  std::vector<std::thread> threads_;
  std::vector<int> serving_;
  std::vector<std::unique_ptr<Lane>> closed_;
  std::thread control_thread_;
};

}  // namespace hyperhost::isolation
