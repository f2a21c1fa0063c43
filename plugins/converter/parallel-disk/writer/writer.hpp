// SPDX-License-Identifier: Apache-2.0
// How an image format is written. Space in the image is given out in guest order (place), all
// else runs in parallel; so the same input gives the same bytes, whatever the number of threads,
// and an image grows from front to back.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/batch.hpp"
#include "engine/state.hpp"
#include "writer/output.hpp"

namespace hyper::disk {

class Writer {
 public:
  virtual ~Writer() = default;
  virtual uint64_t batch_bytes() const { return 1u << 20; }
  /// Size of the disk as the written image has it: not smaller than the source's.
  virtual uint64_t virtual_size() const = 0;
  /// Whether the batch's plain bytes are needed to write it.
  virtual bool needs_plain(const Batch&) const { return true; }

  /// What a worker of this writer keeps to itself (a compressor).
  class Tool {
   public:
    virtual ~Tool() = default;
  };
  virtual std::unique_ptr<Tool> make_tool() const { return nullptr; }

  /// Compresses. Any thread.
  virtual void prepare(Workspace&, Tool*) {}
  /// Decides where the batch goes: fills `writes`, notes it in the tables. In the order of the
  /// batches, one at a time. May write tables itself.
  virtual void place(Op op, Workspace& space) = 0;
  /// What restore() of a fresh writer of the same options needs to go on behind the batches placed
  /// so far, the last of which ends before `guest`; and how long the image is by then. False: this
  /// format cannot resume. Called between two place().
  virtual bool save(uint64_t /*guest*/, StateWriter&, uint64_t& /*length*/) const { return false; }
  /// False: not such a state.
  virtual bool restore(uint64_t /*guest*/, StateReader&) { return false; }
  /// All batches are placed and stored: writes the remaining tables. Returns the image's length.
  virtual uint64_t finish(Op op) = 0;
};

}  // namespace hyper::disk
