// SPDX-License-Identifier: Apache-2.0
#include "core/check/option_values.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <regex>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"
#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/config/secret.hpp"

namespace hyperhost::check {
namespace {

namespace fs = std::filesystem;

bool marked(const nlohmann::json& schema, const char* mark) {
  const auto found = schema.find(mark);
  return found != schema.end() && *found == true;
}

/// The property itself where it refers to a definition of the schema ("#/$defs/size").
const nlohmann::json& resolved(const nlohmann::json& root, const nlohmann::json& property) {
  const auto reference = property.find("$ref");
  if (reference == property.end() || !reference->is_string()) return property;
  const std::string text = reference->get<std::string>();
  const auto definitions = root.find("$defs");
  const std::string prefix = "#/$defs/";
  if (text.rfind(prefix, 0) != 0 || definitions == root.end()) return property;
  const auto found = definitions->find(text.substr(prefix.size()));
  return found == definitions->end() ? property : *found;
}

std::string type_of(const nlohmann::json& schema) {
  const auto type = schema.find("type");
  if (type == schema.end()) return schema.contains("properties") ? "object" : "string";
  return type->is_array() && !type->empty() ? type->front().get<std::string>()
                                            : type->get<std::string>();
}

/// A secret is only ever referred to.
nlohmann::json secret_file(const std::string& secret, const std::string& key,
                           const std::string& scratch) {
  const std::string path = scratch + "/secret-" + key;
  std::ofstream(path) << secret;
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  return {{"file", path}};
}

nlohmann::json guess(const nlohmann::json& schema, const std::string& key, bool storage,
                     const std::string& scratch) {
  if (schema.contains("default")) return schema["default"];
  if (schema.contains("examples") && schema["examples"].is_array() && !schema["examples"].empty())
    return schema["examples"][0];
  if (schema.contains("const")) return schema["const"];
  if (schema.contains("enum") && schema["enum"].is_array() && !schema["enum"].empty())
    return schema["enum"][0];
  if (marked(schema, "x-hyper-secret")) {
    std::random_device random;
    return secret_file(
        "hyperhost-check-secret-" + std::to_string(random()) + std::to_string(random()), key,
        scratch);
  }
  if (marked(schema, "x-hyper-path")) {
    const std::string path = scratch + (storage ? "/store" : "/disks");
    fs::create_directories(path);
    if (!storage) write_sample_disks(path);
    return path;
  }
  const std::string type = type_of(schema);
  if (type == "boolean") return false;
  if (type == "integer" || type == "number") return schema.value("minimum", nlohmann::json(1));
  if (type == "array") return nlohmann::json::array();
  if (type == "string" && !schema.contains("pattern"))
    return std::string(std::max<std::size_t>(schema.value("minLength", std::size_t{1}), 1), 'x');
  throw Error(Code::kConfig, "the option '" + key + "' is required and cannot be made up", "",
              R"(the manifest may say {"check": {"options": {…}}})");
}

nlohmann::json made_up(const nlohmann::json& root, const nlohmann::json& schema,
                       nlohmann::json options, bool storage, const std::string& scratch) {
  const auto properties = schema.value("properties", nlohmann::json::object());
  for (auto& [key, value] : options.items())  // a made-up secret may stand in the manifest
    if (value.is_string() && properties.contains(key) &&
        marked(resolved(root, properties[key]), "x-hyper-secret"))
      value = secret_file(value.get<std::string>(), key, scratch);
  for (const auto& required : schema.value("required", nlohmann::json::array())) {
    const std::string key = required.get<std::string>();
    if (options.contains(key) || !properties.contains(key)) continue;
    const auto& property = resolved(root, properties[key]);
    options[key] = type_of(property) == "object" && !marked(property, "x-hyper-secret")
                       ? made_up(root, property, nlohmann::json::object(), storage, scratch)
                       : guess(property, key, storage, scratch);
  }
  return options;
}

ConfigValue read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw errno_error(errno, "read " + path);
  std::string text;
  std::vector<char> piece(64 * 1024);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
    text.append(piece.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxYamlBytes) throw Error(Code::kConfig, path + " is too large");
  }
  std::vector<Diagnostic> problems;
  auto value = read_yaml(text, path, problems);
  if (!problems.empty()) throw Error(problems.front());
  if (!value || !value->is(ConfigValue::Kind::kMapping))
    throw Error(Code::kConfig, path + " does not hold a mapping of options");
  return std::move(*value);
}

void find_secrets(const nlohmann::json& root, const nlohmann::json& schema,
                  const nlohmann::json& value) {
  if (marked(schema, "x-hyper-secret") && value.is_string()) watch_secret(value.get<std::string>());
  if (!value.is_object() || !schema.is_object()) return;
  const auto properties = schema.value("properties", nlohmann::json::object());
  for (const auto& [key, property] : properties.items())
    if (value.contains(key)) find_secrets(root, resolved(root, property), value[key]);
}

}  // namespace

Options option_values(const nlohmann::json& manifest, const std::string& iface,
                      const std::string& options_file, const std::string& scratch) {
  const nlohmann::json schema = manifest.value("options", nlohmann::json{{"type", "object"}});
  ConfigValue written = ConfigValue::mapping();
  SchemaContext context;
  if (!options_file.empty()) {
    written = read_file(options_file);
    context.base_dir = fs::path(options_file).parent_path();
  } else {
    const auto check = manifest.value("check", nlohmann::json::object());
    nlohmann::json options =
        check.is_object() ? check.value("options", nlohmann::json::object()) : check;
    if (!options.is_object())
      throw Error(Code::kConfig, "the manifest's check.options are not an object");
    options = made_up(schema, schema, std::move(options), iface == HYPER_IFACE_STORAGE, scratch);
    written =
        ConfigValue::from_json(options, Mark{std::make_shared<const std::string>("made up"), 0, 0});
    context.base_dir = scratch;
  }
  OptionsResult checked = validate_options(written, schema, "", context);
  if (!checked.ok) throw Error(checked.diagnostics.front());
  std::vector<Diagnostic> problems;
  auto values = resolve_secrets(checked.options, "", {context.base_dir}, problems);
  if (!values) throw Error(problems.front());
  find_secrets(schema, schema, *values);
  return Options(std::move(*values));
}

std::vector<nlohmann::json> option_variations(const nlohmann::json& manifest,
                                              const nlohmann::json& valid, std::size_t most) {
  std::vector<nlohmann::json> out;
  const nlohmann::json schema = manifest.value("options", nlohmann::json::object());
  const auto add = [&](const std::string& key, nlohmann::json value) {
    if (out.size() >= most) return;
    nlohmann::json varied = valid;
    varied[key] = std::move(value);
    out.push_back(std::move(varied));
  };
  const auto properties = schema.value("properties", nlohmann::json::object());
  for (const auto& [key, written] : properties.items()) {
    const auto& property = resolved(schema, written);
    if (marked(property, "x-hyper-secret")) continue;
    const std::string type = type_of(property);
    for (const auto& choice : property.value("enum", nlohmann::json::array())) add(key, choice);
    if (property.contains("enum")) continue;
    if (type == "boolean") {
      add(key, true);
      add(key, false);
    } else if (type == "integer" && !marked(property, "x-hyper-size")) {
      add(key, property.value("minimum", nlohmann::json(int64_t{-1} << 62)));
      add(key, property.value("maximum", nlohmann::json(int64_t{1} << 62)));
    } else if (type == "string" && !marked(property, "x-hyper-duration") &&
               !marked(property, "x-hyper-size")) {
      const std::size_t longest = property.value("maxLength", std::size_t{70000});
      for (std::string text :
           {std::string(), std::string(longest, 'a'), std::string("\xc3\xa4\xe2\x82\xac"),
            std::string("../../etc/passwd"), std::string("%s%n {}")}) {
        if (text.size() < property.value("minLength", std::size_t{0}) || text.size() > longest)
          continue;
        if (property.contains("pattern") &&
            !std::regex_search(text.substr(0, 1000),
                               std::regex(property["pattern"].get<std::string>())))
          continue;
        if (marked(property, "x-hyper-path")) text.insert(0, "/nonexistent/");
        add(key, text);
      }
    }
  }
  return out;
}

}  // namespace hyperhost::check
