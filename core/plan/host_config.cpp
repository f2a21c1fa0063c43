// SPDX-License-Identifier: Apache-2.0
#include "core/plan/host_config.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/os/file_trust.hpp"
#include "core/plan/destination_url.hpp"

namespace hyperhost {
namespace {

constexpr const char* kDefaultPath = "/etc/hyperhost/hyperhost.yaml";

std::string read_text(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw errno_error(errno, "read " + path);
  if (!S_ISREG(status.st_mode)) throw Error(Code::kConfig, path + " is no file");
  // Its plugin directories hold code that runs with our rights.
  if (const std::string reason = strangers(status, path); !reason.empty())
    throw Error(Code::kConfig, "the host's configuration is not read", reason);
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

ConfigValue read_document(const std::string& path) {
  std::vector<Diagnostic> problems;
  std::optional<ConfigValue> document = read_yaml(read_text(path), path, problems);
  throw_problems(path, problems);
  if (!document) throw Error(Code::kConfig, path + " is empty", "", "write `version: 1`");
  return std::move(*document);
}

/// Mappings are merged, lists joined; of two other values the later one holds.
void merge(ConfigValue& into, const ConfigValue& later) {
  if (into.members() != nullptr && later.members() != nullptr) {
    for (const auto& [key, mark, value] : *later.members()) {
      if (ConfigValue* known = into.find(key))
        merge(*known, value);
      else
        into.set(key, value, mark);
    }
  } else if (into.sequence() != nullptr && later.sequence() != nullptr) {
    into.sequence()->insert(into.sequence()->end(), later.sequence()->begin(),
                            later.sequence()->end());
  } else {
    into = later;
  }
}

/// "/etc/hyperhost/hyperhost.yaml" → the *.yaml of /etc/hyperhost/hyperhost.d, by name: what
/// packages of plugins add.
std::vector<std::string> drop_ins(const std::filesystem::path& path) {
  std::vector<std::string> out;
  std::error_code error;
  const auto directory = std::filesystem::path(path).replace_extension(".d");
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error))
    if (it->path().extension() == ".yaml") out.push_back(it->path().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

HostConfig load_host_config() {
  HostConfig config;
  const char* named = std::getenv("HYPERHOST_CONFIG");
  if (named != nullptr && *named == '\0') return config;  // explicitly none
  const std::string path = named != nullptr ? named : kDefaultPath;
  std::error_code error;
  std::vector<std::string> files = drop_ins(path);
  if (named != nullptr || std::filesystem::exists(path, error)) files.insert(files.begin(), path);
  if (files.empty()) return config;

  ConfigValue merged = read_document(files.front());
  for (std::size_t i = 1; i < files.size(); ++i) merge(merged, read_document(files[i]));
  ConfigValue* const document = &merged;
  std::vector<Diagnostic> problems;
  const std::filesystem::path base = std::filesystem::absolute(path).parent_path();
  validate(*document, nlohmann::json::parse(host_schema_text()), "", {false, base}, problems);
  throw_problems(path, problems);

  config.path = path;
  if (const ConfigValue* dirs = document->find("plugin_dirs"))
    for (const ConfigValue& dir : *dirs->sequence()) config.plugin_dirs.emplace_back(*dir.string());
  if (const ConfigValue* isolation = document->find("isolation")) {
    config.isolation = *isolation->find("default")->string();
    if (const ConfigValue* memory = isolation->find("memory"))
      config.worker_memory = static_cast<uint64_t>(*memory->integer());
    config.confine = *isolation->find("confine")->string();
    if (const ConfigValue* user = isolation->find("user")) config.confined_user = *user->string();
    for (const auto& [id, mark, value] : *isolation->find("plugins")->members()) {
      config.isolation_of[id] = value.string() != nullptr ? *value.string() : "process";
      if (const ConfigValue* memory = value.find("memory"))
        config.worker_memory_of[id] = static_cast<uint64_t>(*memory->integer());
      if (const ConfigValue* confine = value.find("confine"))
        config.confine_of[id] = *confine->string();
    }
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
