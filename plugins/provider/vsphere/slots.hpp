// SPDX-License-Identifier: Apache-2.0
// Limits how many disks are read from one ESXi host at once. Thread-safe.
#ifndef HYPERHOST_PLUGINS_VSPHERE_SLOTS_HPP
#define HYPERHOST_PLUGINS_VSPHERE_SLOTS_HPP

#include <hyper/op.hpp>
#include <map>
#include <mutex>
#include <string>

namespace hyper::vsphere {

class HostSlots {
 public:
  explicit HostSlots(uint32_t limit) : limit_(limit) {}

  class Slot {
   public:
    Slot() = default;
    Slot(HostSlots* slots, std::string host) : slots_(slots), host_(std::move(host)) {}
    Slot(Slot&& other) noexcept
        : slots_(std::exchange(other.slots_, nullptr)), host_(std::move(other.host_)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(slots_, other.slots_);
      std::swap(host_, other.host_);
      return *this;
    }
    ~Slot() { release(); }
    void release() {
      if (HostSlots* slots = std::exchange(slots_, nullptr)) {
        const std::lock_guard lock(slots->mutex_);
        --slots->used_[host_];
      }
    }

   private:
    HostSlots* slots_ = nullptr;
    std::string host_;
  };

  /// Waits until a slot is free.
  Slot take(const std::string& host, Op op) {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        uint32_t& used = used_[host];
        if (used < limit_) {
          ++used;
          return Slot(this, host);
        }
      }
      op.sleep_ns(50'000'000);
    }
  }

 private:
  const uint32_t limit_;
  std::mutex mutex_;
  std::map<std::string, uint32_t> used_;
};

}  // namespace hyper::vsphere

#endif
