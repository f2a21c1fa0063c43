// SPDX-License-Identifier: Apache-2.0
// How many disks of all VMs together are moved at once. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "core/base/cancel.hpp"

namespace hyperhost {

class DiskSlots {
 public:
  /// 0 = no limit. Before the first take().
  void limit(uint32_t most) { most_ = most; }

  /// One slot until it goes. Waits; throws Error(kCancelled).
  class Slot {
   public:
    Slot(DiskSlots& slots, const CancelSource& cancel) : slots_(slots) {
      std::unique_lock lock(slots.mutex_);
      while (slots.most_ != 0 && slots.taken_ >= slots.most_) {
        cancel.check();
        slots.freed_.wait_for(lock, std::chrono::milliseconds(100));
      }
      ++slots.taken_;
    }
    ~Slot() {
      const std::lock_guard lock(slots_.mutex_);
      --slots_.taken_;
      slots_.freed_.notify_one();
    }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    DiskSlots& slots_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  uint32_t most_ = 0, taken_ = 0;
};

}  // namespace hyperhost
