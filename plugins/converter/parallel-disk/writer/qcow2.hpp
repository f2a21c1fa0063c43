// SPDX-License-Identifier: Apache-2.0
// qcow2 version 3 images, written from front to back; layout and reasons in qcow2.cpp.
// Specification: docs/interop/qcow2.txt of QEMU.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "codec/deflate.hpp"
#include "writer/writer.hpp"

namespace hyper::disk {

struct Qcow2Options {
  uint64_t cluster_bytes = 64u << 10;
  Packing packing = Packing::kNone;  ///< none, a raw deflate or zstd
  int level = 0;
  bool keep = false;  ///< compressed grains become clusters as they stand (packing: for the rest)
};

class Qcow2Writer : public Writer {
 public:
  /// Throws HYPER_UNSUPPORTED if the disk is too large for the cluster size.
  Qcow2Writer(Output& output, uint64_t size, const Qcow2Options& options);
  uint64_t batch_bytes() const override;
  uint64_t virtual_size() const override { return size_; }
  bool needs_plain(const Batch& batch) const override;
  std::unique_ptr<Tool> make_tool() const override;
  void prepare(Workspace& space, Tool* tool) override;
  void place(Op op, Workspace& space) override;
  uint64_t finish(Op op) override;
  bool save(uint64_t guest, StateWriter& state, uint64_t& length) const override;
  bool restore(uint64_t guest, StateReader& state) override;
  /// Units that were taken over as they stood.
  uint64_t kept() const { return kept_; }

 private:
  bool keeps(const Piece& piece) const;
  bool zero_cluster(const Workspace& space, uint64_t index) const;
  void place_kept(Op op, Workspace& space);
  void place_packed(Op op, Workspace& space);
  void place_plain(Op op, Workspace& space);
  void set_entry(Op op, uint64_t guest, uint64_t entry);
  uint64_t compressed_entry(uint64_t offset, uint64_t length);
  uint64_t allocate_clusters(Op op, uint64_t count);
  uint64_t allocate_bytes(Op op, uint64_t length);
  void count_reference(uint64_t cluster, uint64_t times = 1);
  void flush_l2(Op op);
  void flush_refcounts(Op op);
  void write_refcount_block(Op op, uint64_t index, uint64_t offset);

  Output& output_;
  const uint64_t size_;
  const Qcow2Options options_;
  const uint64_t cluster_;
  unsigned cluster_bits_ = 0;
  uint64_t l1_entries_ = 0;

  uint64_t end_;                     // of what is given out, a multiple of the cluster size
  uint64_t pack_ = 0;                // the next free byte for compressed data, at most …
  uint64_t pack_end_ = 0;            // … this, the end of the clusters opened for it
  std::map<uint64_t, uint64_t> l1_;  // index → offset, without the empty ones
  std::vector<uint64_t> l2_;         // the one being filled
  uint64_t l2_index_ = 0;
  bool l2_used_ = false;
  std::map<uint64_t, std::vector<uint16_t>> refcounts_;  // blocks not yet written
  std::map<uint64_t, uint64_t> refcount_blocks_;         // index → offset
  uint64_t kept_ = 0;
};

}  // namespace hyper::disk
