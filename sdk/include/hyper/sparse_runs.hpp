// SPDX-License-Identifier: Apache-2.0
// Where data and holes of a file lie, for sources that answer extents() with lseek(2)'s SEEK_DATA
// and SEEK_HOLE. The kernel walks to the end of a run, on some file systems page by page, and on
// NFS each answer is a round trip; callers ask in windows much smaller than a run. So the last runs
// are remembered: a scan of the whole file then costs two calls a run and not two a window.
// Owned by the source of the file; any number of threads. Forgets nothing: the file's content must
// not change while it is in use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

namespace hyper {

class SparseRuns {
 public:
  /// [begin, end) is data, or reads as zeros.
  struct Run {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool data = true;
  };

  /// The run that `offset` lies in, from `offset` or before it to its end; length: of the file.
  /// seek(offset, want_data): the first byte at or behind `offset` that is data (true) or in a hole
  /// (false); `length` or more if there is none, nothing if the file system cannot say: all that
  /// follows is data then. REQUIRES: offset < length.
  template <class Seek>
  Run at(uint64_t offset, uint64_t length, const Seek& seek) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Run& run : recent_)
      if (run.begin <= offset && offset < run.end) return run;
    Run found{offset, length, true};
    const std::optional<uint64_t> data = seek(offset, true);
    if (data && *data > offset) {
      found.data = false;
      found.end = *data < length ? *data : length;
    } else if (data) {
      const std::optional<uint64_t> hole = seek(offset, false);
      if (hole && *hole > offset && *hole < length) found.end = *hole;
    }
    recent_[next_] = found;
    next_ = (next_ + 1) % recent_.size();
    return found;
  }

 private:
  std::mutex mutex_;
  std::array<Run, 8> recent_{};  // as many as there are workers in different runs
  std::size_t next_ = 0;
};

}  // namespace hyper
