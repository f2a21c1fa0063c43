// SPDX-License-Identifier: Apache-2.0
// Where batches come from: a map of a seekable image, or a stream.
#pragma once

#include <cstdint>
#include <string>

#include "engine/batch.hpp"

namespace hyper::disk {

class Reader {
 public:
  virtual ~Reader() = default;
  virtual uint64_t virtual_size() const = 0;
  /// Called once, before the first next(); 1 or 2 MiB.
  virtual void set_batch_bytes(uint64_t bytes) = 0;
  /// Called once, after set_batch_bytes: the first batch shall be the one that begins at `guest`,
  /// a multiple of its bytes. False: only by reading all before it.
  virtual bool seek(uint64_t /*guest*/) { return false; }
  /// The next batch into `space.batch`, in ascending order; the last one reaches the end of the
  /// disk. False when there is none. One thread at a time; may wait for the source.
  virtual bool next(Op op, Workspace& space) = 0;
  /// Brings the batch's bytes into memory: uncompressed ones into `plain` at their place,
  /// compressed ones to their piece's `bytes`. Any thread.
  virtual void load(Op op, Workspace& space) = 0;
  /// After inflating: `consumed` bytes of the source became guest bytes. Any thread.
  virtual void account(uint64_t /*consumed*/) {}
  virtual uint64_t bytes_read() const = 0;
};

}  // namespace hyper::disk
