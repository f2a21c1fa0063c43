// SPDX-License-Identifier: Apache-2.0
// Where an image's bytes go: one face for sinks that take writes anywhere, in whole parts, or in
// ascending order. Every byte of the image is either written or skipped (reads as zero), once,
// except that a random sink takes rewrites. Thread-safe, but for append sinks (one at a time).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <hyper/sink.hpp>

#include "engine/limiter.hpp"
#include "writer/part_senders.hpp"

namespace hyper::disk {

class Output {
 public:
  explicit Output(SinkRef sink);
  bool random() const { return random_; }
  void sync(Op op) const { sink_.sync(op); }
  /// Writes must come in the order of their offsets.
  bool in_order() const { return append_; }
  /// Reports a hole: a sink of parts or in ascending order needs it.
  void write(Op op, uint64_t offset, const void* data, uint64_t length);
  void skip(Op op, uint64_t offset, uint64_t length);
  /// The image ends at `length`.
  void finish(Op op, uint64_t length);
  uint64_t bytes_stored() const { return stored_.load(std::memory_order_relaxed); }

 private:
  struct Part {
    PartSenders::Buffer bytes;
    uint64_t missing = 0;
  };
  uint8_t* part_at(Op op, uint64_t index);
  void fill(Op op, uint64_t offset, const uint8_t* data, uint64_t length);
  void append(Op op, uint64_t offset, const uint8_t* data, uint64_t length);
  void store(Op op, uint64_t offset, const void* data, uint64_t length);

  SinkRef sink_;
  bool random_ = false, append_ = false;
  Limiter limiter_;
  std::atomic<uint64_t> stored_{0};
  uint64_t appended_ = 0;  // append: the next offset
  std::mutex mutex_;       // parts
  std::map<uint64_t, Part> parts_;
  std::unique_ptr<PartSenders> senders_;  // the last: its threads use the rest
};

}  // namespace hyper::disk
