// SPDX-License-Identifier: Apache-2.0
// Man pages and shell completions out of what --help is made of: they cannot say anything else.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace hyperhost {

/// Writes below `directory`, for a program called NAME: man1/NAME.1 and one page for each command,
/// bash/NAME, zsh/_NAME, fish/NAME.fish. Throws Error.
void write_documentation(const CLI::App& app, const std::string& directory,
                         const std::string& version);

}  // namespace hyperhost
