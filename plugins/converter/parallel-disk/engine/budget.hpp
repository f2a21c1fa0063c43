// SPDX-License-Identifier: Apache-2.0
// What all conversions of one instance share: processor time and memory. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include <hyper/op.hpp>

namespace hyper::disk {

class Budget {
 public:
  /// `threads`: how many workers a disk is worth. `busy`: how many may hold a Core at once.
  Budget(unsigned threads, unsigned busy, uint64_t memory_bytes)
      : threads_(threads), busy_(busy), memory_(memory_bytes) {}

  unsigned threads() const { return threads_; }
  uint64_t memory_bytes() const { return memory_; }

  /// The right to keep one processor busy, until destroyed. Never held while waiting for a source,
  /// a sink or another worker, so a slow lease starves no worker.
  class Core {
   public:
    Core(Budget& budget, Op op);
    ~Core();
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

   private:
    Budget& budget_;
  };

  /// Memory for `count()` workers, until destroyed.
  class Memory {
   public:
    /// Takes room for as many as `wanted` workers of `each` bytes as there is, at least one: waits
    /// for other conversions to end if there is none. Throws HYPER_CONFIG if one never fits.
    Memory(Budget& budget, Op op, unsigned wanted, uint64_t each);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    unsigned count() const { return count_; }

   private:
    Budget& budget_;
    uint64_t each_;
    unsigned count_ = 0;
  };

 private:
  const unsigned threads_, busy_;
  const uint64_t memory_;
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned cores_taken_ = 0;
  uint64_t memory_taken_ = 0;
};

}  // namespace hyper::disk
