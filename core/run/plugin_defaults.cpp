// SPDX-License-Identifier: Apache-2.0
#include "core/run/plugin_defaults.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/config/schema.hpp"
#include "core/config/secret.hpp"
#include "core/plan/destination_url.hpp"
#include "core/run/bind_destination.hpp"

namespace hyperhost {
namespace {

/// "local-ovf", "path" → "HYPERHOST_LOCAL_OVF_PATH".
std::string variable_of(const std::string& plugin, const std::string& option) {
  std::string name = "HYPERHOST_" + plugin + "_" + option;
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    if (c >= 'a' && c <= 'z') return static_cast<char>(c - 'a' + 'A');
    return c == '-' ? '_' : c;
  });
  return name;
}

}  // namespace

PluginChoice default_choice(PluginRegistry& registry, const std::string& plugin,
                            const ConfigValue& given) {
  registry.load(plugin);  // says why there is none
  const PluginFile* file = registry.find(plugin);
  const nlohmann::json schema = file->manifest.value("options", nlohmann::json{{"type", "object"}});
  OptionsResult options = validate_options(given, schema, "", {});
  std::vector<Diagnostic> problems = options.diagnostics;
  std::optional<nlohmann::json> resolved;
  if (options.ok) resolved = resolve_secrets(options.options, "", {}, problems);
  if (!resolved)
    throw Error(Code::kConfig, "plugin '" + plugin + "' cannot run without options",
                problems.empty() ? "" : to_string(problems.front()));
  return {plugin, Options(std::move(*resolved))};
}

PluginChoice default_converter(PluginRegistry& registry) {
  return default_choice(registry, registry.default_for(HYPER_IFACE_CONVERTER));
}

PluginChoice default_storage(PluginRegistry& registry, const std::string& destination) {
  if (scheme_of(destination).empty())
    throw Error(Code::kConfig, "'" + destination + "' is no destination of an upload", "",
                "write it as a URL, e.g. s3://BUCKET/PREFIX or file:///DIRECTORY");
  UploadSpec upload;
  upload.destination = destination;
  PluginSpec storage;
  storage.options = ConfigValue::mapping();
  place_storage(upload, registry, storage);
  const ConfigValue environment = environment_options(registry, storage.plugin);
  for (const auto& member : *environment.members())
    if (storage.options.find(member.key) == nullptr) storage.options.set(member.key, member.value);
  return default_choice(registry, storage.plugin, storage.options);
}

std::string target_format_of(const MigrationConfig& config) {
  const std::string unset = ConvertOptions().output_format;
  const std::string& one = config.target_format;
  const std::string& other = config.convert_options.output_format;
  if (one != other && one != unset && other != unset)
    throw Error(
        Code::kConfig,
        "target_format '" + one + "' and output_format '" + other + "' contradict each other", "",
        "set one of them");
  return one == unset ? other : one;
}

ConfigValue environment_options(const PluginRegistry& registry, const std::string& plugin) {
  ConfigValue given = ConfigValue::mapping();
  const PluginFile* file = registry.find(plugin);
  if (file == nullptr) return given;
  const nlohmann::json schema = file->manifest.value("options", nlohmann::json::object());
  const nlohmann::json options = schema.value("properties", nlohmann::json::object());
  for (const auto& [option, rules] : options.items()) {
    if (!rules.is_object() || rules.value("type", "") != "string") continue;
    const std::string variable = variable_of(plugin_id(plugin), option);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    const Mark mark{std::make_shared<const std::string>(variable), 0, 0};
    if (rules.value("x-hyper-secret", false)) {
      given.set(
          option,
          ConfigValue(SecretReference{SecretReference::Source::kEnvironment, variable}, mark));
    } else {
      given.set(option, ConfigValue(std::string(value), mark));
    }
  }
  return given;
}

}  // namespace hyperhost
