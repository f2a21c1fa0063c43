// SPDX-License-Identifier: Apache-2.0
// A lock that says whose it is: a file held by flock, with its owner in it. It goes with its
// object; what a killed process leaves is recognised and taken over. One thread.
#pragma once

#include <string>

#include "core/os/fd.hpp"

namespace hyperhost {

class LockFile {
 public:
  /// Makes and locks the file. Throws Error(kBusy) naming the owner where a live process has it,
  /// or one that cannot be seen from here on a file system without locks.
  LockFile(std::string path, const std::string& purpose);
  /// Removes it.
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  /// What the owner it was taken over from is called; empty if it was free.
  const std::string& taken_over_from() const { return taken_over_from_; }

 private:
  const std::string path_;
  Fd fd_;
  std::string taken_over_from_;
};

/// Removes a lock file that no process holds. True: it is not there any more.
bool remove_stale_lock(const std::string& path);

}  // namespace hyperhost
