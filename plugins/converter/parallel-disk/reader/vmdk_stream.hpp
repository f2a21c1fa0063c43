// SPDX-License-Identifier: Apache-2.0
// Batches from a streamOptimized VMDK read from front to back: grains behind their markers, in
// ascending order, as VMware and qemu write them. Two layouts: tables behind the grains, announced
// by gdOffset -1 and closed by a footer and an end-of-stream marker (VMware), or tables in front
// and no markers but the grains' (qemu). Specification: VMware Virtual Disk Format 5.0, "Stream-
// Optimized Compressed Sparse Extents".
#pragma once

#include <vector>

#include "engine/input.hpp"
#include "reader/reader.hpp"

namespace hyper::disk {

class VmdkStreamReader : public Reader {
 public:
  /// Reads the header and all in front of the first grain.
  VmdkStreamReader(Op op, const SourceRef& source);
  uint64_t virtual_size() const override { return size_; }
  uint64_t grain_bytes() const { return grain_; }
  void set_batch_bytes(uint64_t bytes) override { batch_bytes_ = bytes; }
  bool next(Op op, Workspace& space) override;
  void load(Op, Workspace&) override {}
  uint64_t bytes_read() const override { return forward_.position(); }

 private:
  class Window;
  enum class Seen { kGrain, kOther, kEnd, kFull };
  struct Header {
    uint64_t capacity = 0, grain = 0, descriptor_offset = 0, descriptor_size = 0, gd_offset = 0,
             overhead = 0;
    uint32_t gtes = 0;
  };
  static Header parse(const uint8_t* sector, uint64_t at);
  void read_front(Op op, const Header& header);
  void count_tables(Op op, const Header& header, uint64_t& at);
  void skip_front(Op op, uint64_t& at, uint64_t to);
  void read_front_bytes(Op op, uint64_t& at, void* to, uint64_t length);
  Seen take_marker(Op op, Window& window, Batch& batch);
  void take_grain(Op op, Window& window, Batch& batch, uint64_t sector, uint32_t size);
  void check_end(Op op, uint64_t at, bool marker);

  Forward forward_;
  uint64_t size_ = 0, grain_ = 0;
  bool tables_behind_ = false;
  bool counted_ = false;
  uint64_t grains_expected_ = 0;  // by tables in front, where counted_
  uint64_t grains_seen_ = 0;
  bool footer_seen_ = false;
  Header header_;

  uint64_t batch_bytes_ = 1u << 20;
  uint64_t position_ = 0;    // guest: all before it is in a batch
  uint64_t next_grain_ = 0;  // guest: no later grain may lie before it
  bool ended_ = false;
  std::vector<uint8_t> carry_;      // read, but of the next batch
  uint64_t carry_offset_ = 0;       // in the file
  uint64_t estimate_ = 512u << 10;  // compressed bytes of a batch
};

}  // namespace hyper::disk
