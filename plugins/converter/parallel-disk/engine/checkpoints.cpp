// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoints.hpp"

#include <utility>

namespace hyper::disk {

Checkpoints::Checkpoints(const CheckpointPlan& plan)
    : plan_(plan), given_up_(plan.interval_bytes == 0) {}

bool Checkpoints::due(Op op, uint64_t number) {
  if (plan_.interval_bytes == 0 || number == 0 || unsaved_ == 0) return false;
  const bool bytes = unsaved_ >= plan_.interval_bytes / 2;
  const bool time = Clock::now() - last_ >= plan_.interval / 2;
  if (!bytes && !time) return false;
  std::unique_lock lock(mutex_);
  while (bytes && !given_up_ && (pending_ || saving_)) {
    op.check_cancelled();
    saved_.wait_for(lock, std::chrono::milliseconds(50));
  }
  return !given_up_ && !pending_ && !saving_;
}

void Checkpoints::abandon() noexcept {
  const std::lock_guard lock(mutex_);
  given_up_ = true;
  saved_.notify_all();
}

void Checkpoints::begin(uint64_t number, Position position) {
  const std::lock_guard lock(mutex_);
  pending_.emplace(number, std::move(position));
  unsaved_ = 0;
  last_ = Clock::now();
}

void Checkpoints::stored(Op op, uint64_t number) {
  Position position;
  {
    const std::lock_guard lock(mutex_);
    early_.insert(number);
    while (!early_.empty() && *early_.begin() == all_before_) {
      early_.erase(early_.begin());
      ++all_before_;
    }
    if (!pending_ || saving_ || all_before_ < pending_->first) return;
    position = std::move(pending_->second);
    pending_.reset();
    saving_ = true;
  }
  bool kept = false;
  struct Done {
    Checkpoints& of;
    const bool& kept;
    ~Done() {
      const std::lock_guard lock(of.mutex_);
      of.saving_ = false;
      of.given_up_ = of.given_up_ || !kept;
      of.saved_.notify_all();
    }
  } done{*this, kept};
  if (plan_.sync) plan_.sync(op);
  kept = plan_.save(op, position);
}

}  // namespace hyper::disk
