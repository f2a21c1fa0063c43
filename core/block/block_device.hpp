// SPDX-License-Identifier: Apache-2.0
// A disk as its guest sees it, read and written in any order. Any thread; errors are hyper::Error
// and hyper::Reported, as in a plugin's source. Owned by whoever serves it.
#pragma once

#include <hyper/source.hpp>

#include <cstdint>
#include <functional>
#include <memory>

#include "core/plugin/handles.hpp"

namespace hyperhost {

class BlockDevice {
 public:
  using OnExtent = std::function<void(const hyper_extent&)>;

  virtual ~BlockDevice() = default;
  virtual uint64_t length() const = 0;
  virtual bool writable() const = 0;
  /// Each fails with HYPER_FAIL where the range is not within length(). Any offset and any length
  /// will do.
  virtual void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) = 0;
  virtual void write_at(hyper::Op op, uint64_t offset, const void* bytes, uint64_t length) = 0;
  virtual void zero_at(hyper::Op op, uint64_t offset, uint64_t length) = 0;
  /// What was written before the call outlives a crash of the host, if it is to outlive the host.
  virtual void flush(hyper::Op op) = 0;
  /// Ascending, without gaps, covering the range exactly. on_extent may use the device.
  virtual void extents(hyper::Op op, uint64_t offset, uint64_t length,
                       const OnExtent& on_extent) = 0;
};

/// Throws hyper::Error(HYPER_FAIL) unless the range lies within a disk of `size`.
void check_range(uint64_t offset, uint64_t length, uint64_t size);

/// A source as a device that refuses writes. REQUIRES: the source can seek.
std::shared_ptr<BlockDevice> read_only_device(std::shared_ptr<SourceHandle> source);

/// A device as an ordinary source: SEEK and EXTENTS, format "raw". The device stays open with it.
std::unique_ptr<SourceHandle> open_block_source(std::shared_ptr<BlockDevice> device);

}  // namespace hyperhost
