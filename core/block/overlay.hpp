// SPDX-License-Identifier: Apache-2.0
// A writable view of a disk: what is written goes into a sparse file of the host, and the source
// below is only read. Writes take space by clusters of 64 KiB. A cluster that was not written keeps
// its source's extent flags. Memory: overlay_map.hpp. Thread-safe.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <mutex>

#include "core/block/base_reader.hpp"
#include "core/block/block_device.hpp"
#include "core/block/overlay_file.hpp"
#include "core/block/overlay_map.hpp"

namespace hyperhost {

class Overlay final : public BlockDevice {
 public:
  static constexpr uint64_t kCluster = OverlayFile::kCluster;

  /// Over a source that can seek. Its file has no name and goes with the process, however that
  /// ends. Throws Error.
  static std::shared_ptr<Overlay> scratch(std::shared_ptr<SourceHandle> base,
                                          const std::filesystem::path& directory);
  /// The same, and keep() can give its file a name.
  static std::shared_ptr<Overlay> keepable(std::shared_ptr<SourceHandle> base,
                                           const std::filesystem::path& directory, Operation& op);
  /// In a file that stays and may be opened again over the same disk. The same disk: one of the
  /// same length with the same bytes at 17 places spread over it. Throws Error.
  static std::shared_ptr<Overlay> kept(std::shared_ptr<SourceHandle> base,
                                       const std::filesystem::path& file, Operation& op);

  uint64_t length() const override { return base_.length(); }
  bool writable() const override { return true; }
  void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) override;
  /// On failure the range may have been written in part. HYPER_NOSPACE: the file cannot grow.
  void write_at(hyper::Op op, uint64_t offset, const void* bytes, uint64_t length) override;
  /// Whole clusters take no space.
  void zero_at(hyper::Op op, uint64_t offset, uint64_t length) override;
  /// Of a kept file; one without a name need not outlive the host.
  void flush(hyper::Op op) override;
  void extents(hyper::Op op, uint64_t offset, uint64_t length, const OnExtent& on_extent) override;

  /// The same range of the disk below, whatever was written.
  void read_base(hyper::Op op, uint64_t offset, void* buffer, uint64_t length);

  /// Of a keepable one, to which nothing writes any more: makes it durable and names its file,
  /// which kept() opens then. Throws Error; the file has no name then.
  void keep(const std::filesystem::path& file);
  /// SHA-256, in hexadecimal, of what was written and where. Throws Error.
  std::string digest(Operation& op);

  /// Calls on_run(offset, length) for each run of bytes that the overlay holds, ascending.
  void each_held(const std::function<void(uint64_t offset, uint64_t length)>& on_run) const;

 private:
  Overlay(std::shared_ptr<SourceHandle> base, OverlayFile file, std::unique_ptr<OverlayMap> map);
  /// offset and length within one cluster.
  void write_piece(hyper::Op op, uint64_t offset, const void* bytes, uint64_t length);
  void zero_piece(hyper::Op op, uint64_t offset, uint64_t length);
  void zero_cluster(uint64_t cluster);
  /// Puts a piece into a cluster of which there is no data yet.
  void fill(hyper::Op op, uint64_t cluster, Held held, uint64_t offset, const void* bytes,
            uint64_t length);
  uint64_t clusters() const { return (length() + kCluster - 1) / kCluster; }
  uint64_t cluster_bytes(uint64_t cluster) const;
  std::mutex& lock_of(uint64_t cluster) { return locks_[cluster % locks_.size()]; }

  BaseReader base_;
  OverlayFile file_;
  const std::unique_ptr<OverlayMap> map_;
  std::array<std::mutex, 64> locks_;  ///< a cluster's, while it is changed
  std::mutex flush_;                  ///< one flush at a time
};

}  // namespace hyperhost
