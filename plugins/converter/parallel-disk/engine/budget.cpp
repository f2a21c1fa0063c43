// SPDX-License-Identifier: Apache-2.0
#include "engine/budget.hpp"

#include <algorithm>
#include <chrono>
#include <string>

namespace hyper::disk {
namespace {
// A wait looks this often whether the operation was cancelled.
constexpr std::chrono::milliseconds kTick{50};

template <class Ready>
void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, Op op,
          Ready ready) {
  while (!changed.wait_for(lock, kTick, ready)) op.check_cancelled();
}
}  // namespace

Budget::Core::Core(Budget& budget, Op op) : budget_(budget) {
  std::unique_lock lock(budget.mutex_);
  wait(budget.changed_, lock, op, [&] { return budget.cores_taken_ < budget.busy_; });
  ++budget.cores_taken_;
}

Budget::Core::~Core() {
  const std::lock_guard lock(budget_.mutex_);
  --budget_.cores_taken_;
  budget_.changed_.notify_all();
}

Budget::Memory::Memory(Budget& budget, Op op, unsigned wanted, uint64_t each)
    : budget_(budget), each_(each) {
  if (each > budget.memory_)
    throw Error(HYPER_CONFIG, "the memory bound is too small for this disk",
                std::to_string(each) + " bytes are the least it needs")
        .at("/memory");
  std::unique_lock lock(budget.mutex_);
  wait(budget.changed_, lock, op, [&] { return budget.memory_ - budget.memory_taken_ >= each; });
  const uint64_t fit = (budget.memory_ - budget.memory_taken_) / each;
  count_ = static_cast<unsigned>(std::min<uint64_t>(wanted, fit));
  budget.memory_taken_ += count_ * each_;
}

Budget::Memory::~Memory() {
  const std::lock_guard lock(budget_.mutex_);
  budget_.memory_taken_ -= count_ * each_;
  budget_.changed_.notify_all();
}

}  // namespace hyper::disk
