// SPDX-License-Identifier: Apache-2.0
#include "core/plan/host_config.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/plan/destination_url.hpp"

namespace hyperhost {
namespace {

constexpr const char* kDefaultPath = "/etc/hyperhost/hyperhost.yaml";

std::string read_text(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw errno_error(errno, "read " + path);
  if (!S_ISREG(status.st_mode)) throw Error(Code::kConfig, path + " is no file");
  // Its plugin directories hold code that runs with our rights.
  if ((status.st_mode & S_IWOTH) != 0)
    throw Error(Code::kConfig, path + " is writable by everybody", "", "chmod o-w " + path);
  if (status.st_size > static_cast<off_t>(kMaxYamlBytes))
    throw Error(Code::kConfig, path + " is too large");
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in) throw Error(Code::kIo, path + " cannot be read");
  return text;
}

void throw_problems(const std::string& path, const std::vector<Diagnostic>& problems) {
  Diagnostic first;
  std::string others;
  bool any = false;
  for (const Diagnostic& problem : problems) {
    if (problem.severity != Severity::kError) continue;
    if (!any)
      first = problem;
    else
      others += (others.empty() ? "also: " : "; ") + to_string(problem);
    any = true;
  }
  if (!any) return;
  if (first.where.empty()) first.where = path;
  first.code = Code::kConfig;
  first.detail += (first.detail.empty() || others.empty() ? "" : "; ") + others;
  throw Error(first);
}

void add_storage(ConfigValue* upload, const ConfigValue& storages) {
  if (upload == nullptr || upload->members() == nullptr || upload->find("storage") != nullptr)
    return;
  const ConfigValue* destination = upload->find("destination");
  if (destination == nullptr || destination->string() == nullptr) return;
  const ConfigValue* storage = storages.find(scheme_of(*destination->string()));
  if (storage != nullptr) upload->set("storage", *storage);
}

}  // namespace

HostConfig load_host_config() {
  HostConfig config;
  const char* named = std::getenv("HYPERHOST_CONFIG");
  if (named != nullptr && *named == '\0') return config;  // explicitly none
  const std::string path = named != nullptr ? named : kDefaultPath;
  std::error_code error;
  if (named == nullptr && !std::filesystem::exists(path, error)) return config;

  std::vector<Diagnostic> problems;
  std::optional<ConfigValue> document = read_yaml(read_text(path), path, problems);
  throw_problems(path, problems);
  if (!document) throw Error(Code::kConfig, path + " is empty", "", "write `version: 1`");
  const std::filesystem::path base = std::filesystem::absolute(path).parent_path();
  validate(*document, nlohmann::json::parse(host_schema_text()), "", {false, base}, problems);
  throw_problems(path, problems);

  config.path = path;
  if (const ConfigValue* dirs = document->find("plugin_dirs"))
    for (const ConfigValue& dir : *dirs->sequence()) config.plugin_dirs.emplace_back(*dir.string());
  if (const ConfigValue* isolation = document->find("isolation")) {
    config.isolation = *isolation->find("default")->string();
    for (const auto& member : *isolation->find("plugins")->members())
      config.isolation_of[member.key] = *member.value.string();
  }
  for (const char* key : {"converter", "storage"})
    if (const ConfigValue* value = document->find(key)) config.defaults.set(key, *value);
  return config;
}

void apply_host_defaults(ConfigValue& document, const ConfigValue& defaults) {
  if (const ConfigValue* converter = defaults.find("converter");
      converter != nullptr && document.find("converter") == nullptr)
    document.set("converter", *converter);
  const ConfigValue* storages = defaults.find("storage");
  if (storages == nullptr) return;
  add_storage(document.find("upload"), *storages);
  ConfigValue* migrations = document.find("migrations");
  if (migrations == nullptr || migrations->sequence() == nullptr) return;
  for (ConfigValue& migration : *migrations->sequence())
    add_storage(migration.find("upload"), *storages);
}

}  // namespace hyperhost
