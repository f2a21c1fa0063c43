// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/object_source.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace hyper::object {
namespace {
constexpr uint64_t kBlock = 4u << 20;
constexpr unsigned kMostReads = 6;  // at once; two blocks more are kept
}  // namespace

ObjectSource::ObjectSource(std::shared_ptr<Service> service, ObjectInfo object, RetryPolicy policy,
                           unsigned parallel)
    : service_(std::move(service)),
      object_(std::move(object)),
      policy_(policy),
      parallel_(std::min(parallel, kMostReads)) {}

SourceTraits ObjectSource::traits() const {
  SourceTraits traits;
  traits.flags = HYPER_SOURCE_SEEK;
  traits.length = object_.bytes;
  traits.block_pref = kBlock;
  traits.max_parallel = parallel_;
  return traits;
}

void ObjectSource::read_at(Op op, uint64_t offset, void* buf, uint64_t len) {
  auto* to = static_cast<char*>(buf);
  while (len > 0) {
    const auto from = block(op, offset / kBlock);
    const uint64_t at = offset % kBlock;
    const uint64_t now = std::min(len, from->bytes.size() - at);
    std::memcpy(to, from->bytes.data() + at, now);
    to += now;
    offset += now;
    len -= now;
  }
}

std::shared_ptr<ObjectSource::Block> ObjectSource::block(Op op, uint64_t index) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = std::find_if(blocks_.begin(), blocks_.end(),
                                    [&](const auto& one) { return one->index == index; });
    if (found == blocks_.end()) break;
    auto block = *found;
    blocks_.splice(blocks_.begin(), blocks_, found);
    while (!block->ready && !block->failed) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
      op.check_cancelled();
    }
    if (block->ready) return block;
    // The thread that fetched it failed, maybe for a reason of its own: try it here.
    blocks_.remove(block);
  }
  auto block = std::make_shared<Block>();
  block->index = index;
  blocks_.push_front(block);
  if (blocks_.size() > parallel_ + 2) blocks_.pop_back();
  lock.unlock();
  try {
    const uint64_t offset = index * kBlock;
    block->bytes.resize(std::min(kBlock, object_.bytes - offset));
    with_retries(op, policy_, "reading " + service_->location(object_.key), [&](unsigned) {
      service_->read(op, object_, offset, block->bytes.data(), block->bytes.size());
    });
  } catch (...) {
    lock.lock();
    block->failed = true;
    changed_.notify_all();
    throw;
  }
  lock.lock();
  block->ready = true;
  changed_.notify_all();
  return block;
}

}  // namespace hyper::object
