// SPDX-License-Identifier: Apache-2.0
// A source whose reads are counted: what really came from it, without the holes that its reader
// left out and the zeros that it made up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct ReadCount {
  std::atomic<uint64_t> bytes{0};  ///< grows with each read, on any thread
  /// A reader was given the path of the source's file: it reads the file by itself, and `bytes` has
  /// next to nothing of it.
  std::atomic<bool> located{false};
  /// 0 = not known.
  uint64_t known() const { return located ? 0 : bytes.load(); }
};

void count_reads(SourceHandle& source, std::shared_ptr<ReadCount> count);

}  // namespace hyperhost
