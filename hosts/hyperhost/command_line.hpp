// SPDX-License-Identifier: Apache-2.0
// What a command line takes, and what is wrong with one, in a sentence that helps. The owner's
// thread.
#pragma once

#include <CLI/CLI.hpp>

namespace hyperhost {

/// Help that fits 80 columns. Set it before subcommands are added: they inherit it.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_usage(const CLI::Option* option) const override;
};

/// For a number: without it, -1 is a very large one. Help does not repeat it.
inline CLI::Validator in_range(int least, int most) {
  return CLI::Range(least, most).description("");
}

/// Prints it on standard error, or what --help and --version ask for on standard output; returns
/// the exit status. Unknown commands and flags come with the nearest one there is.
int explain(const CLI::App& app, const CLI::ParseError& error);

}  // namespace hyperhost
