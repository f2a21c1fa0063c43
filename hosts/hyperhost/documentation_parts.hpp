// SPDX-License-Identifier: Apache-2.0
// What manual pages and completions are made of: the commands and options that --help shows.
// Internal to documentation.cpp, man_pages.cpp and completions.cpp; stateless.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace hyperhost::documentation {

/// The commands within `app` that --help shows, and its options; in their order.
std::vector<const CLI::App*> commands_of(const CLI::App& app);
std::vector<const CLI::Option*> options_of(const CLI::App& app);
/// "{text,json}" in what --help says of a value: the words it may be.
std::vector<std::string> choices_of(const CLI::Option& option);
bool takes_value(const CLI::Option& option);
/// The command and those within it, depth first: "", "run", "plugins", "plugins list" …
void walk(const CLI::App& app, const std::string& path,
          const std::function<void(const CLI::App&, const std::string&)>& f);
std::string one_line(std::string text);
/// "hyperhost-plugins-list"
std::string page_name(const std::string& program, const std::string& path);

/// The page of `app`, a command of `whole`.
std::string man_page(const CLI::App& whole, const CLI::App& app, const std::string& path,
                     const std::string& version);
/// hyperhost-plan(5), from the plan's schema.
std::string man_plan(const std::string& version);

std::string bash_script(const CLI::App& app, const std::string& program);
std::string zsh_script(const CLI::App& app, const std::string& program);
std::string fish_script(const CLI::App& app, const std::string& program);

}  // namespace hyperhost::documentation
