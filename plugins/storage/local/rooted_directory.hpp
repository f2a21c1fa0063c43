// SPDX-License-Identifier: Apache-2.0
// A directory that keys cannot lead out of. Every part of a key is opened by itself, relative to
// the one before and without following symbolic links, so neither "..", nor a link somebody
// planted inside, nor a rename in between reaches another place. The root itself may be reached
// through links: it is the administrator's word. Immutable; any thread.
#ifndef HYPERHOST_STORAGE_LOCAL_ROOTED_DIRECTORY_HPP
#define HYPERHOST_STORAGE_LOCAL_ROOTED_DIRECTORY_HPP

#include <string>
#include <string_view>
#include <vector>

#include "plugins/storage/local/unique_fd.hpp"

namespace hyperhost::storage_local {

/// The parts of a key; throws HYPER_CONFIG naming what is wrong with it (absolute, empty, "." or
/// "..", a control character, a part over 255 bytes, a name reserved for temporary files).
std::vector<std::string> split_key(const std::string& key);

/// ".<name>.hyperhost-<pid>-<random>.part": what an unfinished file is called.
std::string temporary_name(const std::string& name);
bool is_temporary_name(std::string_view name);

/// The directory a key lies in, and its last part.
struct Place {
  UniqueFd directory;  ///< O_RDONLY | O_DIRECTORY; empty if a part of the way is missing
  std::string name;
  std::string path;  ///< absolute, for people and for other programs
};

class RootedDirectory {
 public:
  /// Touches nothing. A relative path is taken from the current directory.
  explicit RootedDirectory(const std::string& path);

  const std::string& path() const { return path_; }

  /// The root, or an empty descriptor if it is not there. Throws on anything else.
  UniqueFd open_root() const;

  /// Where `key` lies. With `create`, missing directories are made (and made durable).
  Place locate(const std::string& key, bool create) const;

  /// The nearest directory to the root that exists, which is the root once it does.
  std::string existing_ancestor() const;

 private:
  std::string path_;
};

}  // namespace hyperhost::storage_local

#endif
