// SPDX-License-Identifier: Apache-2.0
// Between a parser, which finds blocks, and the user of a map, which wants long runs: joins what is
// adjacent in the guest and in the file, and asks the source which parts of long runs are holes in
// the file. Lives on the stack of one map() call.
#pragma once

#include <optional>

#include "format/image_map.hpp"

namespace hyper::disk {

class RunMerger {
 public:
  RunMerger(Op op, const OnMapped& sink) : op_(op), sink_(sink) {}

  /// In ascending, contiguous guest order; length may be 0.
  void zeros(uint64_t guest, uint64_t length, bool hole);
  void bytes(uint64_t guest, uint64_t length, const SourceRef& file, uint64_t file_offset);
  void unit(const Mapped& compressed);
  void mapped(const Mapped& piece);  ///< of another map, as it is
  /// Hands over what is still held back: the last call.
  void finish();

 private:
  void add(const Mapped& run);
  void settle();
  void pass_on(const Mapped& run);
  void split_at_holes(const Mapped& run);

  Op op_;
  const OnMapped& sink_;
  std::optional<Mapped> found_;  // as the parser says
  std::optional<Mapped> ready_;  // holes of the file taken into account
};

/// Throws unless [offset, offset + length) lies within an image of this size.
void check_map_range(const ImageMap& map, uint64_t offset, uint64_t length);

}  // namespace hyper::disk
