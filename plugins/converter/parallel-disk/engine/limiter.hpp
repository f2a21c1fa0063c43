// SPDX-License-Identifier: Apache-2.0
// Keeps the number of calls that are inside at once at what a source or sink allows.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include <hyper/op.hpp>

namespace hyper::disk {

class Limiter {
 public:
  explicit Limiter(unsigned limit) : free_(limit == 0 ? 1 : limit) {}

  class Pass {
   public:
    Pass(Limiter& limiter, Op op) : limiter_(limiter) {
      std::unique_lock lock(limiter.mutex_);
      while (!limiter.changed_.wait_for(lock, std::chrono::milliseconds(50),
                                        [&] { return limiter.free_ != 0; }))
        op.check_cancelled();
      --limiter.free_;
    }
    ~Pass() {
      const std::lock_guard lock(limiter_.mutex_);
      ++limiter_.free_;
      limiter_.changed_.notify_one();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Limiter& limiter_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned free_;
};

}  // namespace hyper::disk
