// SPDX-License-Identifier: Apache-2.0
#include "writer/part_senders.hpp"

#include <chrono>

namespace hyper::disk {

PartSenders::PartSenders(unsigned count, Store store) : count_(count), store_(std::move(store)) {}

PartSenders::~PartSenders() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  threads_.clear();
}

void PartSenders::wait(std::unique_lock<std::mutex>& lock, Op op, unsigned below) {
  while (on_their_way_ >= below && !error_) {
    changed_.wait_for(lock, std::chrono::milliseconds(50));
    op.check_cancelled();
  }
  if (error_) std::rethrow_exception(error_);
}

void PartSenders::send(Op op, uint64_t offset, std::vector<uint8_t> bytes) {
  std::unique_lock lock(mutex_);
  wait(lock, op, count_);
  ++on_their_way_;
  jobs_.push_back({op, offset, std::move(bytes)});
  if (threads_.size() < count_) threads_.emplace_back([this] { work(); });
  changed_.notify_all();
}

void PartSenders::drain(Op op) {
  std::unique_lock lock(mutex_);
  wait(lock, op, 1);
}

void PartSenders::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (ending_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      store_(job.op, job.offset, job.bytes);
    } catch (...) {
      failure = std::current_exception();
    }
    job.bytes = {};  // free before the next one may come
    lock.lock();
    if (failure && !error_) error_ = failure;
    if (failure) jobs_.clear();
    --on_their_way_;
    changed_.notify_all();
  }
}

}  // namespace hyper::disk
