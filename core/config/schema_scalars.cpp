// SPDX-License-Identifier: Apache-2.0
// The rules for a single value: its type, its unit, its limits.
#include <algorithm>
#include <cmath>
#include <optional>

#include "core/base/near_miss.hpp"
#include "core/base/pattern.hpp"
#include "core/base/units.hpp"
#include "core/config/schema_format.hpp"
#include "core/config/schema_validator.hpp"

namespace hyperhost {

using nlohmann::json;
using Kind = ConfigValue::Kind;
using namespace schema_rules;

namespace {

/// {env: NAME} or {file: PATH} and nothing else.
std::optional<SecretReference> as_reference(const ConfigValue& value) {
  if (const SecretReference* reference = value.reference()) return *reference;
  const auto* members = value.members();
  if (members == nullptr || members->size() != 1) return std::nullopt;
  const auto& member = members->front();
  const std::string* name = member.value.string();
  if (name == nullptr || name->empty()) return std::nullopt;
  if (member.key == "env") return SecretReference{SecretReference::Source::kEnvironment, *name};
  if (member.key == "file") return SecretReference{SecretReference::Source::kFile, *name};
  return std::nullopt;
}

bool is_multiple(const ConfigValue& value, const json& unit) {
  if (value.integer() != nullptr && unit.is_number_integer())
    return *value.integer() % unit.get<int64_t>() == 0;
  const double real =
      value.integer() != nullptr ? static_cast<double>(*value.integer()) : *value.number();
  const double quotient = real / unit.get<double>();
  return std::abs(quotient - std::round(quotient)) <= 1e-9 * std::max(1.0, std::abs(quotient));
}

}  // namespace

bool schema_rules::flag(const json& schema, const char* key) {
  auto found = schema.find(key);
  return found != schema.end() && found->is_boolean() && found->get<bool>();
}

bool schema_rules::kind_fits(const ConfigValue& value, const std::string& type) {
  const Kind kind = value.kind();
  if (type == "null") return kind == Kind::kNull;
  if (type == "boolean") return kind == Kind::kBoolean;
  if (type == "string") return kind == Kind::kString || kind == Kind::kReference;
  if (type == "array") return kind == Kind::kSequence;
  if (type == "object") return kind == Kind::kMapping;
  if (type == "number") return kind == Kind::kInteger || kind == Kind::kNumber;
  if (type == "integer") {
    return kind == Kind::kInteger ||
           (kind == Kind::kNumber && std::trunc(*value.number()) == *value.number());
  }
  return false;
}

const char* schema_rules::type_name(const std::string& type) {
  if (type == "null") return ConfigValue::kind_name(Kind::kNull);
  if (type == "boolean") return ConfigValue::kind_name(Kind::kBoolean);
  if (type == "string") return ConfigValue::kind_name(Kind::kString);
  if (type == "array") return ConfigValue::kind_name(Kind::kSequence);
  if (type == "object") return ConfigValue::kind_name(Kind::kMapping);
  if (type == "integer") return ConfigValue::kind_name(Kind::kInteger);
  return "a number";
}

std::vector<std::string> schema_rules::types_of(const json& schema) {
  std::vector<std::string> types;
  auto found = schema.find("type");
  if (found == schema.end()) return types;
  if (found->is_string()) return {found->get<std::string>()};
  for (const json& type : *found) types.push_back(type.get<std::string>());
  return types;
}

bool schema_rules::equal(const ConfigValue& value, const json& wanted) {
  // nlohmann compares 1 and 1.0 as equal, as JSON Schema wants.
  return value.to_json() == wanted;
}

void SchemaValidator::secret(ConfigValue& value, const std::string& pointer) {
  if (auto reference = as_reference(value)) {
    value.assign(std::move(*reference));
    return;
  }
  // Never the value itself: it may be the secret.
  add(value.mark(), pointer,
      value.members() != nullptr ? "this is not a reference to a secret"
                                 : "a secret may not stand in the plan",
      "write {env: NAME} for an environment variable or {file: PATH} for a file that holds it");
}

bool SchemaValidator::type(ConfigValue& value, const json& schema, const std::string& pointer) {
  const std::vector<std::string> types = types_of(schema);
  if (types.empty()) return true;
  const Kind kind = value.kind();
  const bool text_wanted = std::find(types.begin(), types.end(), "string") != types.end();
  for (const std::string& name : types) {
    if (kind_fits(value, name)) return true;
  }
  if (text_wanted && context_.references_for_text) {
    if (auto reference = as_reference(value)) {
      value.assign(std::move(*reference));
      return true;
    }
  }
  std::string wanted;
  for (const std::string& name : types) {
    wanted += (wanted.empty() ? "" : " or ") + std::string(type_name(name));
  }
  std::string hint;
  if (schema.contains("x-hyper-form")) {
    hint = schema["x-hyper-form"].get<std::string>();
  } else if (text_wanted &&
             (kind == Kind::kInteger || kind == Kind::kNumber || kind == Kind::kBoolean)) {
    hint = "put it in quotes";
  } else if (kind == Kind::kString && types == std::vector<std::string>{"boolean"}) {
    hint = "write true or false, without quotes";
  } else if (kind == Kind::kString && (types[0] == "integer" || types[0] == "number")) {
    hint = "write it as a number, without quotes";
  } else if (types[0] == "array") {
    hint = "write [ITEM, …] or one '- ITEM' a line";
  }
  add(value.mark(), pointer,
      "expected " + wanted + ", found " +
          (kind == Kind::kBoolean ? "a boolean" : ConfigValue::kind_name(kind)),
      std::move(hint));
  return false;
}

/// Durations, sizes and paths into what they stand for.
bool SchemaValidator::units(ConfigValue& value, const json& schema, const std::string& pointer) {
  if (value.integer() != nullptr && *value.integer() < 0 && flag(schema, "x-hyper-size")) {
    add(value.mark(), pointer, "a size cannot be less than 0");
    return false;
  }
  const std::string* written = value.string();
  if (written == nullptr) return true;
  if (flag(schema, "x-hyper-duration")) {
    if (const auto duration = parse_duration(*written)) {
      value.assign(static_cast<int64_t>(duration->count()));
      return true;
    }
    add(value.mark(), pointer, "this is not a duration, or too long a one",
        "write a number with its unit: 200ms, 5s, 10m, 2h");
    return false;
  }
  if (flag(schema, "x-hyper-size")) {
    if (const auto size = parse_size(*written)) {
      value.assign(static_cast<int64_t>(*size));
      return true;
    }
    add(value.mark(), pointer, "this is not a size, or too large a one",
        "write a number with its unit: 64KiB, 1MiB, 100MB");
    return false;
  }
  if (flag(schema, "x-hyper-path")) {
    if (written->find('\0') != std::string::npos) {
      add(value.mark(), pointer, "a path cannot contain a NUL character");
      return false;
    }
    const std::filesystem::path path(*written);
    if (!written->empty() && path.is_relative() && !context_.base_dir.empty()) {
      value.assign((context_.base_dir / path).lexically_normal().string());
    }
  }
  return true;
}

void SchemaValidator::constants(const ConfigValue& value, const json& schema,
                                const std::string& pointer) {
  if (auto wanted = schema.find("const"); wanted != schema.end() && !equal(value, *wanted)) {
    add(value.mark(), pointer, "must be " + wanted->dump());
  }
  auto allowed = schema.find("enum");
  if (allowed == schema.end()) return;
  std::vector<std::string> known;
  for (const json& one : *allowed) {
    if (equal(value, one)) return;
    known.push_back(one.is_string() ? one.get<std::string>() : one.dump());
  }
  const std::string* written = value.string();
  const bool shown = written != nullptr && written->size() <= 40;
  std::string list;
  for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
  std::string hint = written != nullptr ? suggest(*written, known) : std::string();
  if (!hint.starts_with("did you")) hint.clear();
  add(value.mark(), pointer,
      (shown ? "'" + *written + "' is not one of " : "must be one of ") + list, std::move(hint));
}

void SchemaValidator::text(const ConfigValue& value, const json& schema,
                           const std::string& pointer) {
  const std::string& written = *value.string();
  const auto characters =
      static_cast<size_t>(std::count_if(written.begin(), written.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      }));
  if (schema.contains("minLength") && characters < schema["minLength"].get<size_t>()) {
    const bool empty = characters == 0;
    add(value.mark(), pointer,
        empty ? "must not be empty"
              : "must have at least " + schema["minLength"].dump() + " characters");
    return;
  }
  if (schema.contains("maxLength") && characters > schema["maxLength"].get<size_t>()) {
    add(value.mark(), pointer, "must have at most " + schema["maxLength"].dump() + " characters");
    return;
  }
  if (auto format = schema.find("format");
      format != schema.end() && !format_fits(format->get<std::string>(), written)) {
    add(value.mark(), pointer, "this is not " + format_title(format->get<std::string>()));
    return;
  }
  auto pattern = schema.find("pattern");
  if (pattern == schema.end()) return;
  budget_.steps -= std::min(budget_.steps, written.size());
  if (pattern_matches(pattern->get_ref<const std::string&>(), written)) return;
  std::string hint = schema.value("x-hyper-form", std::string());
  if (hint.empty()) hint = "it must match " + pattern->get<std::string>();
  add(value.mark(), pointer, "this text does not have the form wanted here", std::move(hint));
}

void SchemaValidator::number(const ConfigValue& value, const json& schema,
                             const std::string& pointer) {
  const auto below = [&](const json& limit) {  // value < limit, exact where both are integers
    if (value.integer() != nullptr && limit.is_number_integer()) {
      return json(*value.integer()) < limit;
    }
    const double real =
        value.integer() != nullptr ? static_cast<double>(*value.integer()) : *value.number();
    return real < limit.get<double>();
  };
  const auto same = [&](const json& limit) { return equal(value, limit); };
  if (auto limit = schema.find("minimum"); limit != schema.end() && below(*limit)) {
    add(value.mark(), pointer, "must be at least " + limit->dump());
  }
  if (auto limit = schema.find("exclusiveMinimum");
      limit != schema.end() && (below(*limit) || same(*limit))) {
    add(value.mark(), pointer, "must be more than " + limit->dump());
  }
  if (auto limit = schema.find("maximum");
      limit != schema.end() && !below(*limit) && !same(*limit)) {
    add(value.mark(), pointer, "must be at most " + limit->dump());
  }
  if (auto limit = schema.find("exclusiveMaximum"); limit != schema.end() && !below(*limit)) {
    add(value.mark(), pointer, "must be less than " + limit->dump());
  }
  if (auto unit = schema.find("multipleOf"); unit != schema.end() && !is_multiple(value, *unit)) {
    add(value.mark(), pointer, "must be a multiple of " + unit->dump());
  }
}

}  // namespace hyperhost
