// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <set>

#include "hosts/hyperhost/documentation_parts.hpp"

namespace hyperhost::documentation {
namespace {

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

/// What completes an option's value or a positional word, for `hyperhost complete`; "plan" is a
/// YAML file, "" any file.
std::string kind_of(const CLI::Option& option) {
  static const std::map<std::string, const char*> kKinds = {{"PLAN", "plan"},
                                                            {"PLAN|PATTERN", "plan"},
                                                            {"PLAN|VM", "plan"},
                                                            {"plan", "plan"},
                                                            {"TASK", "tasks"},
                                                            {"task", "tasks"},
                                                            {"PLUGIN", "plugins"},
                                                            {"converter", "converters"},
                                                            {"format", "formats"},
                                                            {"reader", "readers"},
                                                            {"source-format", "formats"},
                                                            {"provider", "providers"},
                                                            {"type", "audit-types"}};
  std::vector<std::string> names = option.get_lnames();
  if (option.get_positional()) names = {option.get_name(true)};
  for (const std::string& name : names)
    if (const auto found = kKinds.find(name); found != kKinds.end()) return found->second;
  return {};
}

/// The same of a command's positional words, in their order; "files" for any file.
std::string kinds_of(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : options_of(app)) {
    if (!option->get_positional()) continue;
    const std::string kind = kind_of(*option);
    out += (out.empty() ? "" : " ") + (kind.empty() ? "files" : kind);
  }
  return out;
}

/// `case` lines for bash and zsh: each option whose value is one of some words, or of a kind.
std::string value_cases(const CLI::App& app, const char* before, const char* after) {
  std::string out;
  std::set<std::string> done;
  walk(app, "", [&](const CLI::App& command, const std::string&) {
    for (const CLI::Option* option : options_of(command)) {
      if (!takes_value(*option)) continue;
      std::string words;
      for (const std::string& word : choices_of(*option))
        words += (words.empty() ? "" : " ") + word;
      const std::string kind = kind_of(*option);
      if (words.empty() && kind.empty()) continue;
      for (const std::string& name : option->get_lnames())
        if (done.insert(name).second)
          out += "    --" + name + ") " +
                 (words.empty() ? "kind=" + kind : before + words + after) + " ;;\n";
    }
  });
  return out;
}

/// The middle of the loop over the words before, for bash and zsh: which command they lead to
/// (`at`), and how many words follow it (`position`). of_path sets `commands` from `at`.
std::string walk_words(const std::string& of_path, const std::string& commands) {
  return R"(    if [[ -n $skip ]]; then skip=''; continue; fi
    if [[ $takes == *" $word "* ]]; then skip=1; continue; fi
    [[ $word == -* ]] && continue
    if [[ -z $ended ]]; then
)" + of_path +
         "      if [[ \" " + commands +
         " \" == *\" $word \"* ]]; then at=${at:+$at }$word; continue; fi\n" +
         "      ended=1\n    fi\n    position=$((position + 1))\n";
}

std::string kind_cases(const CLI::App& app) {
  std::string out;
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    if (const std::string kinds = kinds_of(command); !kinds.empty())
      out += "    '" + path + "') kinds=(" + kinds + ") ;;\n";
  });
  return out;
}

/// 'name:description' for zsh's _describe.
std::string zsh_item(const std::string& name, const std::string& description) {
  std::string out = "      '" + name + ":";
  for (const char c : one_line(description)) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'\n";
}

std::string zsh_flags(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : options_of(app))
    for (const std::string& name : option->get_lnames())
      out += zsh_item("--" + name, option->get_description());
  return out;
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

/// How fish completes a value of that kind; `otherwise` where it is any file.
std::string fish_values(const std::string& kind, const std::string& otherwise) {
  if (kind.empty()) return otherwise;
  if (kind == "plan") return " -k -x -a '(__fish_complete_suffix .yaml .yml)'";
  return " -x -a '(hyperhost complete " + kind + " 2>/dev/null)'";
}

}  // namespace

std::string bash_script(const CLI::App& app, const std::string& program) {
  std::string commands, flags;
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    if (!names_of(command).empty())
      commands += "    '" + path + "') commands='" + names_of(command) + "' ;;\n";
    flags += "    '" + path + "') flags='" + flags_of(command) + "' ;;\n";
  });
  const std::string of_path = "  commands=''\n  case \"$at\" in\n" + commands + "  esac\n";
  return "# Made from the program's own --help.\n_" + program + R"sh(_values() {
  case "$1" in
    plan) COMPREPLY=($(compgen -f -X '!*.yaml' -- "$2") $(compgen -f -X '!*.yml' -- "$2") $(compgen -d -- "$2")) ;;
    files|'') COMPREPLY=($(compgen -f -- "$2")) ;;
    *) COMPREPLY=($(compgen -W "$(hyperhost complete "$1" 2>/dev/null | cut -f1)" -- "$2")) ;;
  esac
}
_)sh" + program +
         R"(() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local at='' commands='' flags='' choices='' kind='' word skip='' ended='' index position=0 kinds=()
  local takes=' )" +
         options_with_values(app) + R"( '
  case "$previous" in
)" + value_cases(app, "choices='", "'") +
         R"(  esac
  if [[ -n $choices ]]; then
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    return
  fi
  if [[ $takes == *" $previous "* ]]; then
    _)" + program +
         R"(_values "$kind" "$current"
    return
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
)" + walk_words(of_path, "$commands") +
         "  done\n" + of_path + "  case \"$at\" in\n" + flags + "  esac\n  case \"$at\" in\n" +
         kind_cases(app) +
         R"(  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags )" +
         flags_of(app) + R"(" -- "$current"))
  elif [[ -n $commands ]]; then
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  else
    _)" + program +
         R"(_values "${kinds[position]:-files}" "$current"
  fi
}
complete -o filenames -F _)" +
         program + " " + program + "\n";
}

std::string zsh_script(const CLI::App& app, const std::string& program) {
  std::string commands, flags;
  walk(app, "", [&](const CLI::App& command, const std::string& path) {
    std::string inner;
    for (const CLI::App* one : commands_of(command))
      inner += zsh_item(one->get_name(), one->get_description());
    if (!inner.empty()) commands += "    '" + path + "') commands=(\n" + inner + "    ) ;;\n";
    flags += "    '" + path + "') flags=(\n" + zsh_flags(command) + "    ) ;;\n";
  });
  const std::string of_path = "  commands=()\n  case $at in\n" + commands + "  esac\n";
  return "#compdef " + program + "\n# Made from the program's own --help.\n_" + program +
         R"(_values() {
  local -a found
  case $1 in
    plan) _files -g '*.(yaml|yml)' ;;
    files|'') _files ;;
    *)
      found=("${(@f)$(_call_program values hyperhost complete $1 2>/dev/null)}")
      found=("${(@)found//:/\\:}")
      found=("${(@)found//$'\t'/:}")
      _describe 'value' found ;;
  esac
}
_)" + program +
         R"(() {
  local at='' kind='' word skip='' ended='' previous=${words[CURRENT-1]}
  local -a commands flags choices kinds
  local -i index position=0
  local takes=' )" +
         options_with_values(app) + R"( '
  case $previous in
)" + value_cases(app, "choices=(", ")") +
         R"(  esac
  if (( $#choices )); then
    compadd -a choices
    return
  fi
  if [[ $takes == *" $previous "* ]]; then
    _)" + program +
         R"(_values "$kind"
    return
  fi
  for ((index = 2; index < CURRENT; index++)); do
    word=$words[index]
)" + walk_words(of_path, "${(j: :)${(@)commands%%:*}}") +
         "  done\n" + of_path + "  case $at in\n" + flags + "  esac\n  case $at in\n" +
         kind_cases(app) +
         "  esac\n  if [[ $words[CURRENT] == -* ]]; then\n    [[ -z $at ]] || flags+=(\n" +
         zsh_flags(app) + R"(    )
    _describe -o 'option' flags
  elif (( $#commands )); then
    _describe 'command' commands
  else
    _)" + program +
         R"(_values "${kinds[position+1]:-files}"
  fi
}
if [[ $funcstack[1] == _)" +
         program + " ]]; then\n  _" + program + " \"$@\"\nelse\n  compdef _" + program + " " +
         program + "\nfi\n";
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
      std::string line = "complete -c " + program + " -n '__PROGRAM_at " + path + "'";
      if (option->get_positional()) {
        if (const std::string values = fish_values(kind_of(*option), ""); !values.empty())
          out += line + values + "\n";
        continue;
      }
      for (const std::string& name : option->get_lnames()) line += " -l " + name;
      for (const std::string& name : option->get_snames()) line += " -s " + name;
      std::string words;
      for (const std::string& word : choices_of(*option))
        words += (words.empty() ? "" : " ") + word;
      if (!words.empty())
        line += " -x -a '" + words + "'";
      else if (takes_value(*option))
        line += fish_values(kind_of(*option), " -r");
      out += line + " -d " + fish_quoted(option->get_description()) + "\n";
    }
  });
  const std::string mark = "PROGRAM";
  for (std::size_t at = out.find("__" + mark); at != std::string::npos;
       at = out.find("__" + mark, at))
    out.replace(at + 2, mark.size(), program);
  return out;
}

}  // namespace hyperhost::documentation
