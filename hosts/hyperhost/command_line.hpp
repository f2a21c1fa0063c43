// SPDX-License-Identifier: Apache-2.0
// What is wrong with a command line, in a sentence that helps. The owner's thread.
#pragma once

#include <CLI/CLI.hpp>

namespace hyperhost {

/// Prints it on standard error, or what --help and --version ask for on standard output; returns
/// the exit status. Unknown commands and flags come with the nearest one there is.
int explain(const CLI::App& app, const CLI::ParseError& error);

}  // namespace hyperhost
