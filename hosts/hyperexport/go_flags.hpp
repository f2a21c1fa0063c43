// SPDX-License-Identifier: Apache-2.0
// Long flags with a single dash (-vm, -progress-api-port), as the Go program of the same name takes
// them. Stateless.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace hyperhost {

/// The arguments (without the program's name) with "-NAME" and "-NAME=VALUE" written "--NAME…"
/// where the app has an option --NAME. What follows "--" stays as it is.
std::vector<std::string> with_double_dashes(int argc, const char* const* argv, const CLI::App& app);

}  // namespace hyperhost
