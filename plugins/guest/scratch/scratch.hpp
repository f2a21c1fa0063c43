// SPDX-License-Identifier: Apache-2.0
// A directory for what a guest plugin and its programs write. It is locked as long as its owner
// lives: the next one of that prefix removes the directories of owners that were killed. One
// thread.
#ifndef HYPERHOST_GUEST_SCRATCH_HPP
#define HYPERHOST_GUEST_SCRATCH_HPP

#include <string>

namespace hyperhost::guest {

/// TMPDIR, or /var/tmp.
std::string temporary_directory();

class Scratch {
 public:
  /// Makes a directory in `parent`, for this user alone. prefix: of its name, the plugin's own.
  /// Throws hyper::Error.
  explicit Scratch(const std::string& prefix, const std::string& parent = temporary_directory());
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int lock_ = -1;
};

}  // namespace hyperhost::guest

#endif
