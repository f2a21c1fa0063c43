// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/command_line.hpp"

#include <iostream>
#include <optional>
#include <sstream>

#include "core/base/near_miss.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

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

constexpr std::size_t kHelpWidth = 80;
constexpr std::size_t kHelpColumn = 30;  // where CLI11 begins the description of a flag

/// The words of `text` in lines of kHelpWidth columns, each line but the first behind `indent`
/// blanks. The first one begins at `used`.
std::string help_filled(const std::string& text, std::size_t used, std::size_t indent) {
  std::istringstream words(text);
  std::string out, word;
  bool first = true;
  while (words >> word) {
    const std::size_t width = display_width(word);
    if (!first && used + 1 + width > kHelpWidth) {
      out += "\n" + std::string(indent, ' ');
      used = indent;
    } else if (!first) {
      out += " ";
      ++used;
    }
    out += word;
    used += width;
    first = false;
  }
  return out;
}

/// Lines that belong together: a paragraph, or a flag or command with its description.
struct HelpBlock {
  std::string head, text;  ///< head: what stays as it is at the front of the first line
  bool wide = false;
  std::string as_it_is;
};

std::string help_block(const HelpBlock& block) {
  if (!block.wide) return block.as_it_is;
  if (block.head.empty()) return help_filled(block.text, 0, 0) + "\n";
  if (display_width(block.head) <= kHelpColumn)
    return block.head + help_filled(block.text, kHelpColumn, kHelpColumn) + "\n";
  return block.head + "\n" + std::string(kHelpColumn, ' ') +
         help_filled(block.text, kHelpColumn, kHelpColumn) + "\n";
}

std::string within_columns(const std::string& help) {
  std::string out;
  std::optional<HelpBlock> block;
  const auto flush = [&] {
    if (block) out += help_block(*block);
    block.reset();
  };
  bool examples = false;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) examples = false;
    if (line.starts_with("Example")) examples = true;
    const bool description = line.starts_with(std::string(kHelpColumn, ' '));
    const bool row = !description && line.starts_with("  ");
    if (line.empty() || examples || line.starts_with("Usage:")) {
      flush();
      out += line + "\n";
      continue;
    }
    if (row || !block || (description != !block->head.empty())) {
      flush();
      block.emplace();
      const bool beside = row && line.size() > kHelpColumn && line[kHelpColumn - 1] == ' ';
      if (row) block->head = beside ? line.substr(0, kHelpColumn) : line;
      if (!row) block->text = line;
      if (beside) block->text = line.substr(kHelpColumn);
    } else {
      block->text += " " + line;
    }
    block->wide |= display_width(line) > kHelpWidth;
    block->as_it_is += line + "\n";
  }
  flush();
  return out;
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode mode) const {
  return within_columns(Formatter::make_help(app, std::move(name), mode));
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  const std::string all = Formatter::make_option_opts(option);
  // A list of all flags that the source of a plan has says less than its own text.
  return option->get_excludes().size() > 1 ? all.substr(0, all.find(" Excludes:")) : all;
}

std::string HelpFormatter::make_option_usage(const CLI::Option* option) const {
  const std::string name =
      make_option_name(option, true) + (option->get_expected_max() > 1 ? "..." : "");
  return option->get_required() ? name : "[" + name + "]";
}

int explain(const CLI::App& app, const CLI::ParseError& error) {
  const bool stray = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr ||
                     dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const std::string said = stray ? stray_word(app) : std::string();
  if (said.empty()) return app.exit(error) == 0 ? kExitOk : kExitUsage;
  std::cerr << said << "\n" << full_name(innermost(app)) << " --help shows what there is\n";
  return kExitUsage;
}

}  // namespace hyperhost
