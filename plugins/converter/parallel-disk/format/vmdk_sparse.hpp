// SPDX-License-Identifier: Apache-2.0
// Sparse extents of VMDKs: a grain directory of grain tables of grains, in hosted files ("KDMV",
// also compressed: streamOptimized) and in ESX's ("COWD"). Virtual Disk Format 5.0, "Hosted Sparse
// Extents" and "ESX Server Sparse Extents". Immutable, thread-safe.
#pragma once

#include <memory>
#include <string>

#include "format/image_file.hpp"
#include "format/run_merger.hpp"

namespace hyper::disk {

class SparseExtent {
 public:
  /// Reads the header, or where it says so the footer. Throws HYPER_CORRUPT or HYPER_UNSUPPORTED.
  static SparseExtent open_hosted(Op op, std::shared_ptr<const ImageFile> file);
  static SparseExtent open_cowd(Op op, std::shared_ptr<const ImageFile> file);

  uint64_t capacity() const { return capacity_; }  ///< bytes
  bool compressed() const { return compressed_; }
  const ImageFile& file() const { return *file_; }
  uint64_t descriptor_offset() const { return descriptor_offset_; }
  /// The descriptor embedded in the file up to its terminating NUL, or "".
  std::string descriptor(Op op) const;

  /// [offset, offset + length) of the extent, which lies at guest_base of the disk. A compressed
  /// unit is a grain, cut off at the end of the extent; some writers compress the last one padded
  /// to a whole grain, so it may inflate to more than unit_length.
  void map(Op op, uint64_t offset, uint64_t length, uint64_t guest_base, RunMerger& out) const;

 private:
  explicit SparseExtent(std::shared_ptr<const ImageFile> file) : file_(std::move(file)) {}
  void check_geometry();
  uint64_t grain_table(Op op, uint64_t index) const;
  void map_grain(Op op, uint64_t grain, uint32_t entry, uint64_t entry_offset, uint64_t skip,
                 uint64_t length, uint64_t guest_base, RunMerger& out) const;
  void map_compressed(Op op, uint64_t grain, uint32_t entry, uint64_t skip, uint64_t length,
                      uint64_t guest_base, RunMerger& out) const;

  std::shared_ptr<const ImageFile> file_;
  uint64_t capacity_ = 0;
  uint64_t grain_bytes_ = 0;
  uint64_t entries_per_table_ = 0;
  uint64_t directory_ = 0;        // file offset
  uint64_t spare_directory_ = 0;  // of the redundant copy; 0 = none
  uint64_t directory_entries_ = 0;
  uint64_t descriptor_offset_ = 0, descriptor_length_ = 0;
  bool compressed_ = false, has_markers_ = false, has_zero_grains_ = false;
};

}  // namespace hyper::disk
