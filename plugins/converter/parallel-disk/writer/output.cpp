// SPDX-License-Identifier: Apache-2.0
#include "writer/output.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace hyper::disk {
namespace {
constexpr uint64_t kZeros = 1u << 20;
constexpr unsigned kMostSenders = 64;
constexpr uint64_t kLongestWrite = 4u << 20;  // between two looks at the cancel flag
}  // namespace

Output::Output(SinkRef sink) : sink_(sink), limiter_(std::max(1u, sink.max_parallel())) {
  if (sink.can(HYPER_SINK_RANDOM))
    random_ = true;
  else if (sink.can(HYPER_SINK_PARTS))
    append_ = false;
  else if (sink.can(HYPER_SINK_APPEND))
    append_ = true;
  else
    throw Error(HYPER_UNSUPPORTED, "the sink takes neither random writes nor parts nor appends");
  if (sink.raw()->block_min > 512)
    throw Error(HYPER_UNSUPPORTED, "the sink takes only blocks larger than 512 bytes");
  if (random_ || append_) return;
  if (sink.part_size() == 0)
    throw Error(HYPER_UNSUPPORTED, "the sink takes parts but names no part size");
  senders_ = std::make_unique<PartSenders>(
      std::clamp(sink.max_parallel(), 1u, kMostSenders), sink.part_size(),
      [this](Op op, uint64_t offset, const PartSenders::Buffer& bytes) {
        store(op, offset, bytes.data(), bytes.size());
      });
}

void Output::write(Op op, uint64_t offset, const void* data, uint64_t length) {
  const auto* from = static_cast<const uint8_t*>(data);
  if (append_) return append(op, offset, from, length);
  if (!random_) return fill(op, offset, from, length);
  while (length != 0) {
    op.check_cancelled();
    const uint64_t now = std::min(length, kLongestWrite);
    store(op, offset, from, now);
    from += now;
    offset += now;
    length -= now;
  }
}

void Output::skip(Op op, uint64_t offset, uint64_t length) {
  if (append_) return append(op, offset, nullptr, length);
  if (!random_) fill(op, offset, nullptr, length);
}

void Output::append(Op op, uint64_t offset, const uint8_t* data, uint64_t length) {
  if (offset != appended_) throw Error(HYPER_FAIL, "internal error: an append out of order");
  static const std::vector<uint8_t> zeros(kZeros, 0);
  while (length != 0) {
    op.check_cancelled();
    const uint64_t now = std::min(length, kZeros);
    store(op, appended_, data == nullptr ? zeros.data() : data, now);
    if (data != nullptr) data += now;
    appended_ += now;
    length -= now;
  }
}

/// Where the part's bytes are gathered; made where it is new.
uint8_t* Output::part_at(Op op, uint64_t index) {
  const auto there = [&]() -> uint8_t* {
    const std::lock_guard lock(mutex_);
    const auto found = parts_.find(index);
    return found == parts_.end() ? nullptr : found->second.bytes.data();
  };
  for (;;) {
    if (uint8_t* bytes = there()) return bytes;
    // Waits for memory, outside of our lock, unless another thread makes the part meanwhile.
    PartSenders::Buffer fresh = senders_->take(op, [&] { return there() != nullptr; });
    if (fresh.empty()) continue;
    bool made = false;
    {
      const std::lock_guard lock(mutex_);
      Part& part = parts_[index];
      made = part.bytes.empty();
      if (made) {
        part.bytes = std::move(fresh);
        part.missing = sink_.part_size();
      }
    }
    if (made)
      senders_->look_again();
    else
      // NOLINTNEXTLINE(bugprone-use-after-move): not made, so not moved
      senders_->give_back(std::move(fresh));
  }
}

void Output::fill(Op op, uint64_t offset, const uint8_t* data, uint64_t length) {
  const uint64_t part_size = sink_.part_size();
  while (length != 0) {
    op.check_cancelled();
    const uint64_t index = offset / part_size, at = offset % part_size;
    const uint64_t now = std::min(length, part_size - at);
    uint8_t* const room = part_at(op, index) + at;
    // The part stays until its last byte is accounted for, below.
    if (data != nullptr) std::memcpy(room, data, now);
    Part complete;
    {
      const std::lock_guard lock(mutex_);
      Part& part = parts_[index];
      if (part.missing < now) throw Error(HYPER_FAIL, "internal error: a part is written twice");
      part.missing -= now;
      if (part.missing == 0) {
        complete = std::move(part);
        parts_.erase(index);
      }
    }
    if (!complete.bytes.empty())
      senders_->send(op, index * part_size, std::move(complete.bytes), part_size);
    if (data != nullptr) data += now;
    offset += now;
    length -= now;
  }
}

void Output::finish(Op op, uint64_t length) {
  if (random_) return;
  if (append_) {
    if (appended_ != length) throw Error(HYPER_FAIL, "internal error: the image's end is missing");
    return;
  }
  // What is left is the last part, shorter than the others.
  const uint64_t part_size = sink_.part_size();
  for (auto& [index, part] : parts_) {
    const uint64_t start = index * part_size;
    const uint64_t size = std::min(part_size, length - std::min(length, start));
    if (size == 0 || part.missing != part_size - size)
      throw Error(HYPER_FAIL, "internal error: a part of the image is missing");
    senders_->send(op, start, std::move(part.bytes), size);
  }
  senders_->drain(op);
  parts_.clear();
}

void Output::store(Op op, uint64_t offset, const void* data, uint64_t length) {
  const Limiter::Pass pass(limiter_, op);
  sink_.write_at(op, offset, data, length);
  stored_.fetch_add(length, std::memory_order_relaxed);
}

}  // namespace hyper::disk
