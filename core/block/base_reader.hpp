// SPDX-License-Identifier: Apache-2.0
// Reads a source at any offset, from any number of threads, within what the source allows: aligned
// to its smallest block, in pieces of its largest one, by as many calls at once as it takes.
#pragma once

#include <hyper/source.hpp>

#include <cstdint>
#include <memory>
#include <semaphore>
#include <vector>

#include "core/plugin/handles.hpp"

namespace hyperhost {

class BaseReader {
 public:
  /// No more than this is asked of extents() at once: it bounds the memory of the answer.
  static constexpr uint64_t kWindow = uint64_t{64} << 20;

  /// REQUIRES: the source can seek.
  explicit BaseReader(std::shared_ptr<SourceHandle> source);

  uint64_t length() const { return source_->length(); }
  /// REQUIRES: the range lies within length(). Throws hyper::Reported.
  void read(hyper::Op op, uint64_t offset, void* buffer, uint64_t length);
  /// The extents of the range, neighbours of one kind as one; all of it data where the source does
  /// not know. Throws hyper::Error where the source's extents have gaps or overlap.
  std::vector<hyper_extent> extents(hyper::Op op, uint64_t offset, uint64_t length);

 private:
  void read_pieces(hyper::Op op, uint64_t offset, unsigned char* out, uint64_t length);

  const std::shared_ptr<SourceHandle> source_;
  std::counting_semaphore<> calls_;
};

}  // namespace hyperhost
