// SPDX-License-Identifier: Apache-2.0
// Where a program is, for plugins that start programs: a missing one gets one message of the
// plugin's own, with the line that installs it. Stateless; any thread that may read the
// environment.
#ifndef HYPERHOST_PLUGINS_FIND_PROGRAM_HPP
#define HYPERHOST_PLUGINS_FIND_PROGRAM_HPP

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

namespace hyperhost {

/// The path by which execvp would start it, or one in the directories `more`; "" = nowhere. Empty
/// parts of PATH, which mean the working directory, are left out.
inline std::string find_program(const std::string& name,
                                const std::vector<std::string>& more = {}) {
  const auto runnable = [](const std::string& path) { return ::access(path.c_str(), X_OK) == 0; };
  if (name.find('/') != std::string::npos) return runnable(name) ? name : std::string();
  const char* set = std::getenv("PATH");
  const std::string path = set != nullptr ? set : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (end > begin && runnable(candidate)) return candidate;
    begin = end + 1;
  }
  for (const std::string& directory : more)
    if (std::string candidate = directory + "/" + name; runnable(candidate)) return candidate;
  return {};
}

}  // namespace hyperhost

#endif
