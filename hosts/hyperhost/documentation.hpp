// SPDX-License-Identifier: Apache-2.0
// Man pages and shell completions out of what --help is made of: they cannot say anything else.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace hyperhost {

/// Writes below `directory`: man1/hyperhost.1 and one page for each command, bash/hyperhost,
/// zsh/_hyperhost, fish/hyperhost.fish. Throws Error.
void write_documentation(const CLI::App& app, const std::string& directory,
                         const std::string& version);

}  // namespace hyperhost
