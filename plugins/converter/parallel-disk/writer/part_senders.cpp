// SPDX-License-Identifier: Apache-2.0
#include "writer/part_senders.hpp"

#include <chrono>

namespace hyper::disk {

PartSenders::PartSenders(unsigned count, uint64_t part_size, Store store)
    : count_(count), part_size_(part_size), store_(std::move(store)) {}

PartSenders::~PartSenders() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  threads_.clear();
}

template <class Until>
void PartSenders::wait(std::unique_lock<std::mutex>& lock, Op op, Until until) {
  while (!until() && !error_) {
    changed_.wait_for(lock, std::chrono::milliseconds(50));
    op.check_cancelled();
  }
  if (error_) std::rethrow_exception(error_);
}

PartSenders::Buffer PartSenders::take(Op op) {
  Buffer bytes;
  {
    std::unique_lock lock(mutex_);
    wait(lock, op, [this] { return out_ < count_ || on_their_way_ == 0; });
    ++out_;
    if (!spare_.empty()) {
      bytes = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  bytes.assign(part_size_, 0);
  return bytes;
}

void PartSenders::give_back(Buffer bytes) {
  const std::lock_guard lock(mutex_);
  --out_;
  if (spare_.size() < count_) spare_.push_back(std::move(bytes));
  changed_.notify_all();
}

void PartSenders::send(Op op, uint64_t offset, Buffer bytes, uint64_t length) {
  bytes.resize(length);
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  ++on_their_way_;
  jobs_.push_back({op, offset, std::move(bytes)});
  if (threads_.size() < count_) threads_.emplace_back([this] { work(); });
  changed_.notify_all();
}

void PartSenders::drain(Op op) {
  std::unique_lock lock(mutex_);
  wait(lock, op, [this] { return on_their_way_ == 0; });
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
    lock.lock();
    if (failure && !error_) error_ = failure;
    if (failure) jobs_.clear();
    --on_their_way_;
    --out_;
    if (spare_.size() < count_) spare_.push_back(std::move(job.bytes));
    changed_.notify_all();
  }
}

}  // namespace hyper::disk
