// SPDX-License-Identifier: Apache-2.0
// The places of data and holes in a file, for sources that answer extents() with lseek(2)'s
// SEEK_DATA and SEEK_HOLE. The kernel walks to the end of a run, on some file systems page by page,
// and on NFS each answer is a round trip. Callers ask in windows much smaller than a run. So this
// class remembers the last runs: a scan of the whole file costs two calls a run, not two a window.
// The source of the file owns it. Any number of threads. It never looks again at a run that it
// remembers, so the file's content must not change while it is in use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

namespace hyper {

class SparseRuns {
 public:
  /// [begin, end): data, or a hole that reads as zeros.
  struct Run {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool data = true;
  };

  /// Returns the run that contains `offset`; it begins at `offset` or before. length: the file's.
  /// seek(offset, want_data) returns the first byte at or behind `offset` that is data (true) or in
  /// a hole (false), and `length` or more if there is none. It returns nothing if the file system
  /// cannot say; the rest of the file then counts as data. REQUIRES: offset < length.
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
  std::array<Run, 8> recent_{};  // so that several workers may each be in another run
  std::size_t next_ = 0;
};

}  // namespace hyper
