// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/documentation.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;

/// Commands and options with a group are shown; those without are the program's own.
bool shown(const CLI::App& command) {
  return !command.get_group().empty();
}
bool shown(const CLI::Option& option) {
  return !option.get_group().empty();
}

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

/// "{text,json}" in what --help says of a value: the words it may be.
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

/// The command and those within it, depth first: "", "run", "plugins", "plugins list" …
void walk(const CLI::App& app, const std::string& path,
          const std::function<void(const CLI::App&, const std::string&)>& f) {
  f(app, path);
  for (const CLI::App* command : commands_of(app))
    walk(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), f);
}

void write_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw errno_error(error.value(), "create " + path.parent_path().string());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw errno_error(errno, "write " + path.string());
}

// --- man ----------------------------------------------------------------------------------------

/// Text for roff: nothing in it is a request, and a hyphen is one that can be typed.
std::string roff(const std::string& text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    begins = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string synopsis(const CLI::App& app, const std::string& program, const std::string& path) {
  std::string out = ".B " + program + (path.empty() ? "" : " " + roff(path)) + "\n[OPTIONS]";
  if (!commands_of(app).empty()) out += " COMMAND";
  for (const CLI::Option* option : options_of(app)) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true);
    const std::string more = option->get_expected_max() > 1 ? name + " ..." : name;
    out += option->get_required() ? " " + more : " [" + more + "]";
  }
  return out + "\n";
}

std::string man_options(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : options_of(app)) {
    std::string head =
        option->get_positional() ? option->get_name(true) : option->get_name(false, true);
    std::replace(head.begin(), head.end(), ',', ' ');
    out += ".TP\n.B " + roff(head);
    const auto choices = choices_of(*option);
    if (takes_value(*option) && choices.empty()) out += " VALUE";
    out += "\n" + roff(one_line(option->get_description())) + ".";
    if (!choices.empty()) {
      out += "\nOne of";
      for (const std::string& choice : choices) out += " " + roff(choice);
      out += ".";
    }
    if (!option->get_default_str().empty() && takes_value(*option))
      out += "\nDefault: " + roff(option->get_default_str()) + ".";
    out += "\n";
  }
  return out;
}

std::string page_name(const std::string& program, const std::string& path) {
  std::string name = program + (path.empty() ? "" : "-" + path);
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string man_page(const CLI::App& app, const std::string& program, const std::string& path,
                     const std::string& version) {
  std::string description = app.get_description();
  const std::string name = page_name(program, path);
  // "hyperhost: takes VMs …" is how --help begins; the page has the name already.
  if (path.empty() && description.rfind(program + ": ", 0) == 0)
    description.erase(0, program.size() + 2);
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string out = ".\\\" Made from the program's own --help.\n.TH " + upper +
                    " 1 \"\" \"hyperhost " + version + "\" \"hyperhost\"\n.SH NAME\n" + roff(name) +
                    " \\- " + roff(one_line(description)) + "\n.SH SYNOPSIS\n" +
                    synopsis(app, program, path);
  out += ".SH DESCRIPTION\n" + roff(one_line(description)) + ".\n";
  const auto commands = commands_of(app);
  if (!commands.empty()) {
    out += ".SH COMMANDS\n";
    for (const CLI::App* command : commands)
      out += ".TP\n.B " + roff(command->get_name()) + "\n" +
             roff(one_line(command->get_description())) + ".\n";
  }
  const std::string options = man_options(app);
  if (!options.empty()) out += ".SH OPTIONS\n" + options;
  if (!app.get_footer().empty()) out += ".SH NOTES\n.nf\n" + roff(app.get_footer()) + "\n.fi\n";
  out += ".SH SEE ALSO\n";
  if (path.empty()) {
    std::string list;
    for (const CLI::App* command : commands)
      list += (list.empty() ? "" : ",\n") +
              (".BR " + roff(page_name(program, command->get_name())) + " (1)");
    std::string plain;
    for (const char c : list)
      if (c != ',') plain += c;
    out += (plain.empty() ? ".BR hyperhost (1)" : plain) + "\n";
  } else {
    out += ".BR " + program + " (1)\n";
  }
  return out;
}

// --- completions --------------------------------------------------------------------------------

std::string flags_of(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : options_of(app))
    for (const std::string& name : option->get_lnames()) out += (out.empty() ? "--" : " --") + name;
  return out;
}

std::string names_of(const CLI::App& app) {
  std::string out;
  for (const CLI::App* command : commands_of(app))
    out += (out.empty() ? "" : " ") + command->get_name();
  return out;
}

/// Every option whose value is the word after it.
std::string options_with_values(const CLI::App& app) {
  std::set<std::string> names;
  walk(app, "", [&](const CLI::App& command, const std::string&) {
    for (const CLI::Option* option : options_of(command)) {
      if (!takes_value(*option)) continue;
      for (const std::string& name : option->get_lnames()) names.insert("--" + name);
      for (const std::string& name : option->get_snames()) names.insert("-" + name);
    }
  });
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : " ") + name;
  return out;
}

/// For bash; zsh runs the same function by its own bashcompinit.
std::string bash_script(const CLI::App& app, const std::string& program) {
  std::string commands, flags, choices;
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    if (!names_of(command).empty())
      commands += "    '" + path + "') commands='" + names_of(command) + "' ;;\n";
    flags += "    '" + path + "') flags='" + flags_of(command) + "' ;;\n";
    for (const CLI::Option* option : options_of(command)) {
      if (!takes_value(*option)) continue;
      for (const std::string& name : option->get_lnames()) {
        std::string words;
        for (const std::string& word : choices_of(*option))
          words += (words.empty() ? "" : " ") + word;
        const std::string line = "    --" + name + ") choices='" + words + "' ;;\n";
        if (!words.empty() && choices.find(line) == std::string::npos) choices += line;
      }
    }
  });
  const std::string global = flags_of(app);
  return "# Made from the program's own --help.\n_" + program + R"(() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local path='' commands='' flags='' choices='' word skip='' index
  local takes=' )" +
         options_with_values(app) + R"( '
  case "$previous" in
)" + choices +
         R"(  esac
  if [[ -n $choices ]]; then
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    return
  fi
  if [[ $takes == *" $previous "* ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
    return
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ -n $skip ]]; then skip=''; continue; fi
    if [[ $takes == *" $word "* ]]; then skip=1; continue; fi
    [[ $word == -* ]] && continue
    commands=''
    case "$path" in
)" + commands +
         R"(    esac
    [[ " $commands " == *" $word "* ]] || break
    path=${path:+$path }$word
  done
  commands=''
  case "$path" in
)" + commands +
         R"(  esac
  case "$path" in
)" + flags +
         R"(  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags )" +
         global + R"(" -- "$current"))
  elif [[ -n $commands ]]; then
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
)";
}

std::string fish_quoted(std::string text) {
  text = one_line(std::move(text));
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const CLI::App& app, const std::string& program) {
  std::string out = R"(# Made from the program's own --help.
function __PROGRAM_words
    # The commands on the line so far, without options and their values.
    set -l skip
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip
        else if contains -- $word )" +
                    options_with_values(app) +
                    R"(
            set skip yes
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end
function __PROGRAM_at
    set -l found (__PROGRAM_words)
    test (count $argv) -le (count $found); or return 1
    for index in (seq (count $argv))
        test "$argv[$index]" = "$found[$index]"; or return 1
    end
end
function __PROGRAM_nothing
    __PROGRAM_at $argv; and test (count $argv) -eq (count (__PROGRAM_words))
end
)";
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    for (const CLI::App* inner : commands_of(command))
      out += "complete -c " + program + " -n '__PROGRAM_nothing " + path + "' -f -a " +
             inner->get_name() + " -d " + fish_quoted(inner->get_description()) + "\n";
    for (const CLI::Option* option : options_of(command)) {
      if (option->get_positional()) continue;
      std::string line = "complete -c " + program + " -n '__PROGRAM_at " + path + "'";
      for (const std::string& name : option->get_lnames()) line += " -l " + name;
      for (const std::string& name : option->get_snames()) line += " -s " + name;
      std::string words;
      for (const std::string& word : choices_of(*option))
        words += (words.empty() ? "" : " ") + word;
      if (!words.empty())
        line += " -x -a '" + words + "'";
      else if (takes_value(*option))
        line += " -r";
      out += line + " -d " + fish_quoted(option->get_description()) + "\n";
    }
  });
  const std::string mark = "PROGRAM";
  for (std::size_t at = out.find("__" + mark); at != std::string::npos;
       at = out.find("__" + mark, at))
    out.replace(at + 2, mark.size(), program);
  return out;
}

}  // namespace

void write_documentation(const CLI::App& app, const std::string& directory,
                         const std::string& version) {
  const fs::path place = directory;
  const std::string& program = app.get_name();
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    write_file(place / "man1" / (page_name(program, path) + ".1"),
               man_page(command, program, path, version));
  });
  const std::string bash = bash_script(app, program);
  const std::string complete = "complete -o filenames -F _" + program + " " + program + "\n";
  write_file(place / "bash" / program, bash + complete);
  write_file(
      place / "zsh" / ("_" + program),
      "#compdef " + program + "\nautoload -U +X bashcompinit && bashcompinit\n" + bash + complete);
  write_file(place / "fish" / (program + ".fish"), fish_script(app, program));
}

}  // namespace hyperhost
