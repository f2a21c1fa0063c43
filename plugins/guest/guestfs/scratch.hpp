// SPDX-License-Identifier: Apache-2.0
// A directory for what libguestfs writes while an appliance runs. It is locked as long as its owner
// lives: the next one removes the directories of owners that were killed. One thread.
#ifndef HYPERHOST_GUESTFS_SCRATCH_HPP
#define HYPERHOST_GUESTFS_SCRATCH_HPP

#include <string>

namespace hyperhost::guestfs {

/// TMPDIR, or /var/tmp.
std::string temporary_directory();

class Scratch {
 public:
  /// Makes a directory in `parent`, for this user alone. Throws hyper::Error.
  explicit Scratch(const std::string& parent = temporary_directory());
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int lock_ = -1;
};

}  // namespace hyperhost::guestfs

#endif
