// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/command_line.hpp"

#include <iostream>

#include "core/base/near_miss.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {
namespace {

/// The command that the words before the mistake lead to.
const CLI::App& innermost(const CLI::App& app) {
  const CLI::App* at = &app;
  for (auto inner = at->get_subcommands(); !inner.empty(); inner = at->get_subcommands())
    at = inner.front();
  return *at;
}

void collect_flags(const CLI::App& app, std::vector<std::string>& flags) {
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  for (const CLI::App* group :
       app.get_subcommands([](const CLI::App* one) { return one->get_name().empty(); }))
    collect_flags(*group, flags);
}

std::string full_name(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name()
                                     : full_name(*app.get_parent()) + " " + app.get_name();
}

/// " (did you mean …?)", or nothing: a list of all flags is what --help is for.
std::string near(const std::string& word, const std::vector<std::string>& known) {
  const std::string hint = suggest(word, known);
  return hint.starts_with("did you mean") ? " (" + hint + ")" : "";
}

/// "there is no …" for the first word that led nowhere; empty if there is none.
std::string stray_word(const CLI::App& app) {
  const CLI::App& at = innermost(app);
  for (const std::string& word : app.remaining(true)) {
    if (word.rfind('-', 0) == 0 && word.size() > 2) {
      std::string name = word.substr(0, word.find('='));
      if (name[1] != '-') name.insert(0, "-");  // one dash is enough for hyperexport
      std::vector<std::string> flags;
      for (const CLI::App* one = &at; one != nullptr; one = one->get_parent())
        collect_flags(*one, flags);
      return "there is no flag '" + name + "'" + near(name, flags);
    }
    std::vector<std::string> commands;
    for (const CLI::App* command : at.get_subcommands({}))
      if (!command->get_group().empty() && !command->get_name().empty())
        commands.push_back(command->get_name());
    if (!commands.empty() && word.rfind('-', 0) != 0)
      return "there is no command '" + word + "' (" + suggest(word, commands) + ")";
  }
  return {};
}

}  // namespace

int explain(const CLI::App& app, const CLI::ParseError& error) {
  const bool stray = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr ||
                     dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const std::string said = stray ? stray_word(app) : std::string();
  if (said.empty()) return app.exit(error) == 0 ? kExitOk : kExitUsage;
  std::cerr << said << "\n" << full_name(innermost(app)) << " --help shows what there is\n";
  return kExitUsage;
}

}  // namespace hyperhost
