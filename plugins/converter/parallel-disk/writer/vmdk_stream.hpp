// SPDX-License-Identifier: Apache-2.0
// streamOptimized VMDK, VMware's layout: grains behind their markers, each grain table behind its
// grains, directory and footer last. Written in ascending order, so to any sink.
// Specification: VMware Virtual Disk Format 5.0.
#pragma once

#include <string>
#include <vector>

#include "writer/writer.hpp"

namespace hyper::disk {

class VmdkStreamWriter : public Writer {
 public:
  /// level 0 = the default; cid: the content id, any but 0xffffffff. Throws HYPER_UNSUPPORTED if
  /// the disk is larger than VMware's 62 TiB.
  VmdkStreamWriter(Output& output, uint64_t size, int level, uint32_t cid);
  uint64_t virtual_size() const override { return size_; }
  std::unique_ptr<Tool> make_tool() const override;
  void prepare(Workspace& space, Tool* tool) override;
  void place(Op op, Workspace& space) override;
  uint64_t finish(Op op) override;

 private:
  std::vector<uint8_t> header(uint64_t directory_sector) const;
  void begin(Op op);
  void flush_table(Op op);
  void append(Op op, const std::vector<uint8_t>& bytes);
  void append_metadata(Op op, uint32_t type, const std::vector<uint8_t>& bytes);
  uint32_t sector(uint64_t offset) const;

  Output& output_;
  const uint64_t size_;
  const int level_;
  const uint32_t cid_;
  uint64_t end_ = 0;
  std::vector<uint32_t> table_;  // of the grain table being filled
  uint64_t table_index_ = 0;
  bool table_used_ = false;
  std::vector<uint32_t> directory_;
};

}  // namespace hyper::disk
