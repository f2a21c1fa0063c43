// SPDX-License-Identifier: Apache-2.0
#include "core/os/own_library.hpp"

#include <dlfcn.h>

namespace hyperhost {

std::filesystem::path own_library_dir() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&own_library_dir), &info) == 0 ||
      info.dli_fname == nullptr)
    return {};
  // For code of the program itself dli_fname is argv[0], which is not always a path.
  const std::filesystem::path file = info.dli_fname;
  if (file.filename().string().rfind("libhyperhost.so", 0) != 0) return {};
  std::error_code error;
  const auto real = std::filesystem::canonical(file, error);
  return error ? file.parent_path() : real.parent_path();
}

}  // namespace hyperhost
