// SPDX-License-Identifier: Apache-2.0
// hyperhost plugins new: a project for a plugin that builds, passes the checks and runs.
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>

#include "hosts/hyperhost/command_plugins.hpp"
#include "hosts/hyperhost/plugin_templates.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;

/// "acme-cloud" → "AcmeCloud".
std::string class_name(const std::string& id) {
  std::string out;
  bool upper = true;
  for (const char c : id) {
    if (c != '-') out += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = c == '-';
  }
  return out;
}

std::string replaced(std::string_view text, const std::string& id) {
  std::string out(text);
  const std::pair<std::string, std::string> names[] = {{"acme", id}, {"Acme", class_name(id)}};
  for (const auto& [from, to] : names)
    for (std::size_t at = out.find(from); at != std::string::npos;
         at = out.find(from, at + to.size()))
      out.replace(at, from.size(), to);
  return out;
}

void write_new(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw errno_error(error.value(), "create " + path.parent_path().string());
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw errno_error(errno, "write " + path.string());
}

int make_project(Context& context, const std::string& kind, const std::string& id,
                 const std::string& directory) {
  static const std::regex form("^[a-z][a-z0-9-]{0,63}$");
  if (!std::regex_match(id, form))
    throw Error(Code::kConfig, "'" + id + "' cannot be a plugin's id", "",
                "a letter first, then a-z, 0-9 and -, at most 64");
  const fs::path place = fs::absolute(directory.empty() ? id : directory).lexically_normal();
  if (fs::exists(place))
    throw Error(Code::kExists, place.string() + " exists", "",
                "choose another directory with --directory");
  // Whole under its name, or not at all.
  const fs::path scratch = place.string() + ".new";
  if (fs::exists(scratch))
    throw Error(Code::kExists, scratch.string() + " exists", "",
                "remove it: an earlier run was stopped");
  nlohmann::json files = nlohmann::json::array();
  try {
    for (const PluginTemplate& file : plugin_templates()) {
      if (file.path.rfind(kind + "/", 0) != 0) continue;
      std::string name(file.path.substr(kind.size() + 1));
      if (name == "gitignore") name = ".gitignore";
      write_new(scratch / name, replaced(file.text, id));
      files.push_back(name);
    }
    fs::rename(scratch, place);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(scratch, ignored);
    throw;
  }
  if (context.json()) {
    context.print_json(
        {{"directory", place.string()}, {"kind", kind}, {"id", id}, {"files", files}});
    return kExitOk;
  }
  std::cout << "made " << place.string() << ", a " << kind
            << " plugin that works; README.md there says more:\n\n"
            << "  cd " << place.string() << "\n"
            << "  cmake -S . -B build && cmake --build build\n"
            << "  hyperhost plugins check build/" << id << ".so\n";
  return kExitOk;
}

}  // namespace

void add_plugin_new_command(CLI::App& plugins, Context& context, int& status) {
  struct Wanted {
    std::string kind, id, directory;
  };
  CLI::App* command = plugins.add_subcommand(
      "new", "Makes a project for a plugin: it builds, passes `check` and runs");
  const auto wanted = std::make_shared<Wanted>();
  command->add_option("KIND", wanted->kind, "What it offers")
      ->required()
      ->check(CLI::IsMember({"provider", "converter", "storage", "target"}));
  command->add_option("ID", wanted->id, "What plans will call it: a-z, 0-9 and -")->required();
  command->add_option("--directory", wanted->directory,
                      "Where; default: a directory of that name here");
  command->footer(
      "The project needs the SDK (package hyperhost-sdk, or `cmake --install BUILD --component "
      "sdk`).\n\n"
      "Example:\n  hyperhost plugins new provider acme");
  command->callback([wanted, &context, &status] {
    status = make_project(context, wanted->kind, wanted->id, wanted->directory);
  });
}

}  // namespace hyperhost
