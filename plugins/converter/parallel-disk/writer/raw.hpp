// SPDX-License-Identifier: Apache-2.0
// Raw images, sparse: what is zero is not written. A disk has whole sectors: an odd end is filled
// with zeros, as a virtual machine monitor would show it.
#pragma once

#include "engine/bytes.hpp"
#include "writer/writer.hpp"

namespace hyper::disk {

class RawWriter : public Writer {
 public:
  RawWriter(Output& output, uint64_t size) : output_(output), size_(round_up(size, 512)) {}
  uint64_t virtual_size() const override { return size_; }
  void place(Op op, Workspace& space) override { place_at(op, space, 0, size_); }
  uint64_t finish(Op op) override;
  bool save(uint64_t guest, StateWriter&, uint64_t& length) const override {
    length = guest;
    return output_.random();
  }
  bool restore(uint64_t guest, StateReader&) override { return output_.random() && guest <= size_; }

 protected:
  /// The batch's data, with the disk beginning at `base` of the image.
  void place_at(Op op, Workspace& space, uint64_t base, uint64_t end);

  Output& output_;

 private:
  uint64_t size_;
  uint64_t position_ = 0;
};

}  // namespace hyper::disk
