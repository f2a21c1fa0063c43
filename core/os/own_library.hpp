// SPDX-License-Identifier: Apache-2.0
// Where this code was loaded from, when a program uses it as a shared library. Pure, any thread.
#pragma once

#include <filesystem>

namespace hyperhost {

/// The directory of libhyperhost.so; empty where the code is part of the program itself.
std::filesystem::path own_library_dir();

}  // namespace hyperhost
