// SPDX-License-Identifier: Apache-2.0
// Batches from a raw disk that arrives as a stream.
#pragma once

#include "engine/input.hpp"
#include "reader/reader.hpp"

namespace hyper::disk {

class RawStreamReader : public Reader {
 public:
  /// The stream must have exactly `size` bytes.
  RawStreamReader(const SourceRef& source, uint64_t size) : forward_(source), size_(size) {}
  uint64_t virtual_size() const override { return size_; }
  void set_batch_bytes(uint64_t bytes) override { batch_bytes_ = bytes; }
  bool next(Op op, Workspace& space) override;
  void load(Op, Workspace&) override {}
  uint64_t bytes_read() const override { return forward_.position(); }

 private:
  Forward forward_;
  const uint64_t size_;
  uint64_t batch_bytes_ = 1u << 20;
};

}  // namespace hyper::disk
