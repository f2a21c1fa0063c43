// SPDX-License-Identifier: Apache-2.0
// VHD images, fixed and dynamic. Sizes are rounded up to whole MiB, as Azure asks, with zeros.
// Specification: Virtual Hard Disk Image Format Specification 1.0 (Microsoft).
#pragma once

#include <array>
#include <vector>

#include "writer/raw.hpp"

namespace hyper::disk {

using Uuid = std::array<uint8_t, 16>;

/// What a VHD holds for a disk of `size` bytes. Throws HYPER_UNSUPPORTED if that is too large.
uint64_t vhd_size(uint64_t size);

class VhdFixedWriter : public RawWriter {
 public:
  VhdFixedWriter(Output& output, uint64_t size, const Uuid& uuid)
      : RawWriter(output, vhd_size(size)), uuid_(uuid) {}
  uint64_t finish(Op op) override;

 private:
  Uuid uuid_;
};

class VhdDynamicWriter : public Writer {
 public:
  VhdDynamicWriter(Output& output, uint64_t size, const Uuid& uuid);
  uint64_t batch_bytes() const override { return kBlock; }
  uint64_t virtual_size() const override { return size_; }
  void place(Op op, Workspace& space) override;
  uint64_t finish(Op op) override;

 private:
  static constexpr uint64_t kBlock = 2u << 20;

  Output& output_;
  const uint64_t size_;
  const Uuid uuid_;
  std::vector<uint32_t> table_;  // of sector numbers, as in the file
  uint64_t end_;
};

}  // namespace hyper::disk
