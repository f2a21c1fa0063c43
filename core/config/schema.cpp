// SPDX-License-Identifier: Apache-2.0
#include "core/config/schema.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/base/near_miss.hpp"
#include "core/base/pattern.hpp"
#include "core/base/units.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using Kind = ConfigValue::Kind;

constexpr size_t kMaxProblems = 100;
constexpr int kMaxReferences = 32;  // $ref to $ref

bool flag(const json& schema, const char* key) {
  auto found = schema.find(key);
  return found != schema.end() && found->is_boolean() && found->get<bool>();
}

bool kind_fits(Kind kind, const ConfigValue& value, const std::string& type) {
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

const char* type_name(const std::string& type) {
  if (type == "null") return ConfigValue::kind_name(Kind::kNull);
  if (type == "boolean") return ConfigValue::kind_name(Kind::kBoolean);
  if (type == "string") return ConfigValue::kind_name(Kind::kString);
  if (type == "array") return ConfigValue::kind_name(Kind::kSequence);
  if (type == "object") return ConfigValue::kind_name(Kind::kMapping);
  if (type == "integer") return ConfigValue::kind_name(Kind::kInteger);
  return "a number";
}

std::vector<std::string> types_of(const json& schema) {
  std::vector<std::string> types;
  auto found = schema.find("type");
  if (found == schema.end()) return types;
  if (found->is_string()) return {found->get<std::string>()};
  for (const json& type : *found) types.push_back(type.get<std::string>());
  return types;
}

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

bool equal(const ConfigValue& value, const json& wanted) {
  // nlohmann compares 1 and 1.0 as equal, as JSON Schema wants.
  return value.to_json() == wanted;
}

class Validator {
 public:
  Validator(const json& root, const SchemaContext& context, std::vector<Diagnostic>& problems)
      : root_(root), context_(context), problems_(problems) {}

  void node(ConfigValue& value, const json& schema, const std::string& pointer, int references) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) add(value.mark(), pointer, "nothing may stand here");
      return;
    }
    if (auto target = schema.find("$ref"); target != schema.end()) {
      if (references >= kMaxReferences) return;
      const size_t before = problems_.size();
      node(value, resolve(*target), pointer, references + 1);
      if (problems_.size() != before) return;
    }
    if (flag(schema, "x-hyper-secret")) return secret(value, pointer);
    const std::vector<std::string> types = types_of(schema);
    if (!types.empty() && !type(value, types, schema, pointer)) return;
    if (!units(value, schema, pointer)) return;
    constants(value, schema, pointer);
    if (value.string() != nullptr) text(value, schema, pointer);
    if (value.integer() != nullptr || value.number() != nullptr) number(value, schema, pointer);
    if (value.sequence() != nullptr) list(value, schema, pointer);
    if (value.members() != nullptr) object(value, schema, pointer);
    if (auto found = schema.find("anyOf"); found != schema.end()) {
      branches(value, *found, false, pointer, references);
    }
    if (auto found = schema.find("oneOf"); found != schema.end()) {
      branches(value, *found, true, pointer, references);
    }
  }

 private:
  void add(const Mark& mark, const std::string& pointer, std::string summary,
           std::string hint = {}) {
    if (problems_.size() >= kMaxProblems) return;
    Diagnostic diagnostic;
    diagnostic.code = Code::kConfig;
    diagnostic.where = mark.where();
    diagnostic.path = pointer;
    diagnostic.summary = std::move(summary);
    diagnostic.hint = std::move(hint);
    problems_.push_back(std::move(diagnostic));
  }

  const json& resolve(const json& target) const {
    return root_.at(json::json_pointer(target.get<std::string>().substr(1)));
  }

  void secret(ConfigValue& value, const std::string& pointer) {
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

  bool type(ConfigValue& value, const std::vector<std::string>& types, const json& schema,
            const std::string& pointer) {
    const Kind kind = value.kind();
    const bool text_wanted = std::find(types.begin(), types.end(), "string") != types.end();
    for (const std::string& name : types) {
      if (kind_fits(kind, value, name)) return true;
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
  bool units(ConfigValue& value, const json& schema, const std::string& pointer) {
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

  void constants(ConfigValue& value, const json& schema, const std::string& pointer) {
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

  void text(const ConfigValue& value, const json& schema, const std::string& pointer) {
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
    auto pattern = schema.find("pattern");
    if (pattern == schema.end()) return;
    if (pattern_matches(pattern->get<std::string>(), written)) return;
    std::string hint = schema.value("x-hyper-form", std::string());
    if (hint.empty()) hint = "it must match " + pattern->get<std::string>();
    add(value.mark(), pointer, "this text does not have the form wanted here", std::move(hint));
  }

  void number(const ConfigValue& value, const json& schema, const std::string& pointer) {
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
  }

  void list(ConfigValue& value, const json& schema, const std::string& pointer) {
    ConfigValue::Sequence& items = *value.sequence();
    if (schema.contains("minItems") && items.size() < schema["minItems"].get<size_t>()) {
      add(value.mark(), pointer,
          items.empty() ? "the list must not be empty"
                        : "the list must have at least " + schema["minItems"].dump() + " items");
    }
    if (schema.contains("maxItems") && items.size() > schema["maxItems"].get<size_t>()) {
      add(value.mark(), pointer,
          "the list must have at most " + schema["maxItems"].dump() + " items");
    }
    if (flag(schema, "uniqueItems")) {
      std::unordered_set<std::string> seen;
      for (size_t i = 0; i < items.size(); ++i) {
        if (!seen.insert(items[i].to_json().dump(-1, ' ', false, json::error_handler_t::replace))
                 .second) {
          add(items[i].mark(), pointer_join(pointer, i), "this item is in the list twice");
        }
      }
    }
    if (auto found = schema.find("items"); found != schema.end()) {
      for (size_t i = 0; i < items.size(); ++i) node(items[i], *found, pointer_join(pointer, i), 0);
    }
  }

  void object(ConfigValue& value, const json& schema, const std::string& pointer) {
    static const json kNone = json::object();
    const json& properties = schema.contains("properties") ? schema["properties"] : kNone;
    ConfigValue::Mapping& members = *value.members();
    if (auto required = schema.find("required"); required != schema.end()) {
      for (const json& key : *required) missing(value, key.get<std::string>(), properties, pointer);
    }
    if (schema.contains("minProperties") &&
        members.size() < schema["minProperties"].get<size_t>()) {
      add(value.mark(), pointer,
          members.empty() ? "the mapping must not be empty" : "the mapping has too few keys");
    }
    if (schema.contains("maxProperties") &&
        members.size() > schema["maxProperties"].get<size_t>()) {
      add(value.mark(), pointer, "the mapping has too many keys");
    }
    const json* others = nullptr;
    if (auto found = schema.find("additionalProperties"); found != schema.end()) others = &*found;
    for (auto& member : members) {
      if (problems_.size() >= kMaxProblems) return;
      const std::string path = pointer_join(pointer, member.key);
      if (auto found = properties.find(member.key); found != properties.end()) {
        node(member.value, *found, path, 0);
      } else if (others != nullptr && others->is_boolean() && !others->get<bool>()) {
        unknown_key(member, properties, path);
      } else if (others != nullptr) {
        node(member.value, *others, path, 0);
      }
    }
    for (const auto& [key, property] : properties.items()) {
      const json* fallback = default_of(property);
      if (fallback == nullptr || value.find(key) != nullptr) continue;
      ConfigValue filled = ConfigValue::from_json(*fallback, value.mark());
      node(filled, property, pointer_join(pointer, key), 0);
      value.set(key, std::move(filled), value.mark());
    }
  }

  void missing(const ConfigValue& value, const std::string& key, const json& properties,
               const std::string& pointer) {
    if (value.find(key) != nullptr) return;
    std::string hint;
    if (auto found = properties.find(key); found != properties.end() && found->is_object()) {
      hint = found->value("description", std::string());
      if (hint.ends_with('.')) hint.pop_back();
    }
    add(value.mark(), pointer, "the key '" + key + "' is missing", std::move(hint));
  }

  void unknown_key(const ConfigValue::Member& member, const json& properties,
                   const std::string& path) {
    std::vector<std::string> known;
    for (const auto& [key, property] : properties.items()) known.push_back(key);
    const std::string shown =
        member.key.size() <= 64 ? member.key : member.key.substr(0, 61) + "...";
    add(member.key_mark, path, "unknown key '" + shown + "'", suggest(member.key, known));
  }

  const json* default_of(const json& property) const {
    const json* schema = &property;
    for (int i = 0; i < kMaxReferences && schema->is_object(); ++i) {
      if (auto found = schema->find("default"); found != schema->end()) return &*found;
      auto target = schema->find("$ref");
      if (target == schema->end()) return nullptr;
      schema = &resolve(*target);
    }
    return nullptr;
  }

  /// Does the branch take values of this kind at all? So that its problems are the ones to show.
  bool takes_kind(const ConfigValue& value, const json& branch) const {
    const json* schema = &branch;
    for (int i = 0; i < kMaxReferences && schema->is_object(); ++i) {
      if (flag(*schema, "x-hyper-secret")) return value.members() != nullptr;
      if (auto wanted = schema->find("const"); wanted != schema->end()) {
        return ConfigValue::from_json(*wanted, {}).kind() == value.kind();
      }
      const auto types = types_of(*schema);
      if (!types.empty()) {
        return std::any_of(types.begin(), types.end(), [&](const std::string& type) {
          return kind_fits(value.kind(), value, type);
        });
      }
      auto target = schema->find("$ref");
      if (target == schema->end()) return true;
      schema = &resolve(*target);
    }
    return true;
  }

  void branches(ConfigValue& value, const json& list, bool exactly_one, const std::string& pointer,
                int references) {
    if (references >= kMaxReferences) return;
    size_t matching = 0;
    std::optional<ConfigValue> chosen;
    std::vector<Diagnostic> said;
    size_t likely = 0;
    for (const json& branch : list) {
      std::vector<Diagnostic> problems;
      ConfigValue copy = value;
      Validator(root_, context_, problems).node(copy, branch, pointer, references + 1);
      if (problems.empty()) {
        if (++matching == 1) chosen = std::move(copy);
      } else if (takes_kind(value, branch) && ++likely == 1) {
        said = std::move(problems);
      }
    }
    if (matching == 1 || (matching > 1 && !exactly_one)) {
      value = std::move(*chosen);
    } else if (matching > 1) {
      add(value.mark(), pointer, "this is ambiguous: it has the form of several alternatives");
    } else if (likely == 1) {
      for (Diagnostic& one : said) {
        if (problems_.size() < kMaxProblems) problems_.push_back(std::move(one));
      }
    } else {
      add(value.mark(), pointer,
          "expected " + alternatives(list) + ", found " +
              (value.is(Kind::kBoolean) ? "a boolean" : ConfigValue::kind_name(value.kind())));
    }
  }

  std::string alternatives(const json& list) const {
    std::vector<std::string> names;
    for (const json& branch : list) {
      const json* schema = &branch;
      for (int i = 0; i < kMaxReferences && schema->contains("$ref"); ++i)
        schema = &resolve((*schema)["$ref"]);
      std::string name = schema->value("title", std::string());
      if (schema->contains("const")) name = (*schema)["const"].dump();
      if (name.empty() && !types_of(*schema).empty()) name = type_name(types_of(*schema)[0]);
      if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
    }
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " or ") + name;
    return text.empty() ? "something else" : text;
  }

  const json& root_;
  const SchemaContext& context_;
  std::vector<Diagnostic>& problems_;
};

}  // namespace

bool validate(ConfigValue& value, const json& schema, const std::string& pointer,
              const SchemaContext& context, std::vector<Diagnostic>& problems) {
  std::vector<Diagnostic> found;
  Validator(schema, context, found).node(value, schema, pointer, 0);
  problems.insert(problems.end(), std::make_move_iterator(found.begin()),
                  std::make_move_iterator(found.end()));
  return found.empty();
}

OptionsResult validate_options(const ConfigValue& options, const json& schema,
                               const std::string& pointer, const SchemaContext& context) {
  OptionsResult result;
  result.options = options;
  if (const auto complaints = check_schema(schema); !complaints.empty()) {
    Diagnostic diagnostic;
    diagnostic.code = Code::kUnsupported;
    diagnostic.path = pointer;
    diagnostic.summary = "the plugin's option schema cannot be used: " + complaints.front();
    diagnostic.hint = "this is a fault of the plugin, not of the plan";
    result.diagnostics.push_back(std::move(diagnostic));
    return result;
  }
  result.ok = validate(result.options, schema, pointer, context, result.diagnostics);
  return result;
}

}  // namespace hyperhost
