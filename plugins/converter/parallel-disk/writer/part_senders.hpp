// SPDX-License-Identifier: Apache-2.0
// Sends whole parts of an image to its sink from threads of its own, as many as the sink takes at
// once: a store far away answers late, and the decoders need not wait for it. It also gives out the
// parts' memory, so that those being filled and those on their way are together as many as the sink
// takes at once (more only where the image's layout keeps more open). A failure comes out of the
// next call. Owned by an Output; take() and send() from any threads, drain() from one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <hyper/sink.hpp>

#include "engine/buffer.hpp"

namespace hyper::disk {

class PartSenders {
 public:
  using Buffer = std::vector<uint8_t, HostAllocator<uint8_t>>;
  /// store: writes one part; called on the senders' threads, any number up to `count` at once.
  using Store = std::function<void(Op op, uint64_t offset, const Buffer& bytes)>;
  PartSenders(unsigned count, uint64_t part_size, Store store);
  /// Ends the threads; parts that no thread has begun with are dropped.
  ~PartSenders();
  PartSenders(const PartSenders&) = delete;
  PartSenders& operator=(const PartSenders&) = delete;

  /// Zeros of a part's size. Waits for memory while there is none and some will come free; returns
  /// nothing once needless(), which look_again() makes it ask.
  Buffer take(Op op, const std::function<bool()>& needless);
  void look_again();
  /// For a buffer that turned out not to be needed.
  void give_back(Buffer bytes);
  /// Takes the part over; `length` bytes of it are sent. The op must live until drain() or the
  /// destructor.
  void send(Op op, uint64_t offset, Buffer bytes, uint64_t length);
  /// Until all that was given is stored.
  void drain(Op op);

 private:
  struct Job {
    Op op;
    uint64_t offset;
    Buffer bytes;
  };
  void work();
  template <class Until>
  void wait(std::unique_lock<std::mutex>& lock, Op op, Until until);

  const unsigned count_, most_;
  const uint64_t part_size_;
  const Store store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<Buffer> spare_;
  unsigned out_ = 0;           // buffers that are not spare
  unsigned on_their_way_ = 0;  // of them, queued or being stored
  bool ending_ = false;
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;
};

}  // namespace hyper::disk
