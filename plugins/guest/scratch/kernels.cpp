// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/scratch/kernels.hpp"

#include <unistd.h>

#include <filesystem>

namespace hyperhost::guest {

std::string unreadable_kernels(const std::string& directory) {
  namespace fs = std::filesystem;
  bool any = false;
  std::error_code error;
  for (fs::directory_iterator one(directory, error), end; !error && one != end;
       one.increment(error)) {
    if (one->path().filename().string().rfind("vmlinuz", 0) != 0) continue;
    if (::access(one->path().c_str(), R_OK) == 0) return {};
    any = true;
  }
  if (!any) return {};
  return "the kernels in " + directory + " cannot be read by the user that works on guests (" +
         std::to_string(::geteuid()) + "): chmod 0644 " + directory +
         "/vmlinuz-*, or name another user in hyperhost.yaml, isolation: {user: NAME}";
}

}  // namespace hyperhost::guest
