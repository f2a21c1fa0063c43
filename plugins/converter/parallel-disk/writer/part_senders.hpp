// SPDX-License-Identifier: Apache-2.0
// Sends whole parts of an image to its sink from threads of its own, as many as the sink takes at
// once: a store far away answers late, and the decoders need not wait for it. What is on its way
// is bounded by that number; a failure comes out of the next call. Owned by an Output; send() from
// any threads, drain() from one.
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

namespace hyper::disk {

class PartSenders {
 public:
  /// store: writes one part; called on the senders' threads, any number up to `count` at once.
  using Store = std::function<void(Op op, uint64_t offset, const std::vector<uint8_t>& bytes)>;
  PartSenders(unsigned count, Store store);
  /// Ends the threads; parts that no thread has begun with are dropped.
  ~PartSenders();
  PartSenders(const PartSenders&) = delete;
  PartSenders& operator=(const PartSenders&) = delete;

  /// Takes the part over. Waits while `count` parts are on their way. The op must live until
  /// drain() or the destructor.
  void send(Op op, uint64_t offset, std::vector<uint8_t> bytes);
  /// Until all that was given is stored.
  void drain(Op op);

 private:
  struct Job {
    Op op;
    uint64_t offset;
    std::vector<uint8_t> bytes;
  };
  void work();
  void wait(std::unique_lock<std::mutex>& lock, Op op, unsigned below);

  const unsigned count_;
  const Store store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  unsigned on_their_way_ = 0;  // queued or being stored
  bool ending_ = false;
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;
};

}  // namespace hyper::disk
