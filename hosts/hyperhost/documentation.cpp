// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/documentation.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/base/diagnostic.hpp"
#include "hosts/hyperhost/documentation_parts.hpp"

namespace hyperhost {
namespace documentation {
namespace {

/// Commands and options with a group are shown; those without are the program's own.
bool shown(const CLI::App& command) {
  return !command.get_group().empty();
}
bool shown(const CLI::Option& option) {
  return !option.get_group().empty();
}

}  // namespace

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  std::vector<const CLI::App*> out;
  for (const CLI::App* command : app.get_subcommands({}))
    if (shown(*command) && !command->get_name().empty()) out.push_back(command);
  return out;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  std::vector<const CLI::Option*> out;
  for (const CLI::Option* option : app.get_options())
    if (shown(*option)) out.push_back(option);
  // Option groups (one of several) are commands without a name.
  for (const CLI::App* group : app.get_subcommands({}))
    if (group->get_name().empty())
      for (const CLI::Option* option : options_of(*group)) out.push_back(option);
  return out;
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{'), end = type.find('}');
  std::vector<std::string> out;
  if (begin == std::string::npos || end == std::string::npos) return out;
  std::istringstream words(type.substr(begin + 1, end - begin - 1));
  for (std::string word; std::getline(words, word, ',');) out.push_back(word);
  return out;
}

bool takes_value(const CLI::Option& option) {
  return option.get_expected_max() > 0 && !option.get_positional();
}

void walk(const CLI::App& app, const std::string& path,
          const std::function<void(const CLI::App&, const std::string&)>& f) {
  f(app, path);
  for (const CLI::App* command : commands_of(app))
    walk(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), f);
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string page_name(const std::string& program, const std::string& path) {
  std::string name = program + (path.empty() ? "" : "-" + path);
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

}  // namespace documentation

namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw errno_error(error.value(), "create " + path.parent_path().string());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw errno_error(errno, "write " + path.string());
}

}  // namespace

void write_documentation(const CLI::App& app, const std::string& directory,
                         const std::string& version) {
  using namespace documentation;
  const fs::path place = directory;
  const std::string& program = app.get_name();
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    write_file(place / "man1" / (page_name(program, path) + ".1"),
               man_page(app, command, path, version));
  });
  if (program == "hyperhost") write_file(place / "man5/hyperhost-plan.5", man_plan(version));
  write_file(place / "bash" / program, bash_script(app, program));
  write_file(place / "zsh" / ("_" + program), zsh_script(app, program));
  write_file(place / "fish" / (program + ".fish"), fish_script(app, program));
}

}  // namespace hyperhost
