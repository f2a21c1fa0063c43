// SPDX-License-Identifier: Apache-2.0
// Schemas within schemas that look at the same value: allOf, anyOf, oneOf, not, if,
// dependentSchemas.
#include <algorithm>

#include "core/config/schema_validator.hpp"

namespace hyperhost {

using nlohmann::json;
using Kind = ConfigValue::Kind;
using namespace schema_rules;

bool SchemaValidator::fits(const ConfigValue& value, const json& schema, const std::string& pointer,
                           ConfigValue* fitted, std::vector<Diagnostic>* problems) {
  std::vector<Diagnostic> found;
  ConfigValue copy = value;
  SchemaValidator(root_, context_, budget_, found).node(copy, schema, pointer);
  const bool good = found.empty();
  if (good && fitted != nullptr) *fitted = std::move(copy);
  if (problems != nullptr) *problems = std::move(found);
  return good;
}

/// Does the branch take values of this kind at all? So that its problems are the ones to show.
bool SchemaValidator::takes_kind(const ConfigValue& value, const json& branch) const {
  const json* schema = &branch;
  for (int i = 0; i < kMaxReferences && schema->is_object(); ++i) {
    if (flag(*schema, "x-hyper-secret")) return value.members() != nullptr;
    if (auto wanted = schema->find("const"); wanted != schema->end()) {
      return ConfigValue::from_json(*wanted, {}).kind() == value.kind();
    }
    const auto types = types_of(*schema);
    if (!types.empty()) {
      return std::any_of(types.begin(), types.end(),
                         [&](const std::string& type) { return kind_fits(value, type); });
    }
    auto target = schema->find("$ref");
    if (target == schema->end()) return true;
    schema = &resolve(*target);
  }
  return true;
}

std::string SchemaValidator::alternatives(const json& list) const {
  std::vector<std::string> names;
  for (const json& branch : list) {
    const json* schema = &branch;
    for (int i = 0; i < kMaxReferences && schema->contains("$ref"); ++i)
      schema = &resolve((*schema)["$ref"]);
    if (!schema->is_object()) continue;
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

/// Each branch sees a single value as it was written: one that was turned into bytes or
/// nanoseconds by the first would not fit the second. Lists and mappings are completed in turn.
void SchemaValidator::all_of(ConfigValue& value, const json& list, const std::string& pointer) {
  const bool contains_others = value.sequence() != nullptr || value.members() != nullptr;
  const ConfigValue written = contains_others ? ConfigValue() : value;
  for (const json& branch : list) {
    if (contains_others) {
      node(value, branch, pointer);
      continue;
    }
    ConfigValue copy = written;
    node(copy, branch, pointer);
    const bool converted = copy.kind() != written.kind() ||
                           (copy.string() != nullptr && *copy.string() != *written.string());
    if (converted) value = std::move(copy);
  }
}

void SchemaValidator::one_of(ConfigValue& value, const json& list, bool exactly_one,
                             const std::string& pointer) {
  size_t matching = 0;
  ConfigValue chosen;
  std::vector<Diagnostic> said;
  size_t likely = 0;
  for (const json& branch : list) {
    std::vector<Diagnostic> problems;
    ConfigValue fitted;
    if (fits(value, branch, pointer, &fitted, &problems)) {
      if (++matching == 1) chosen = std::move(fitted);
    } else if (takes_kind(value, branch) && ++likely == 1) {
      said = std::move(problems);
    }
  }
  if (matching == 1 || (matching > 1 && !exactly_one)) {
    value = std::move(chosen);
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

void SchemaValidator::conditions(ConfigValue& value, const json& schema,
                                 const std::string& pointer) {
  if (auto found = schema.find("not"); found != schema.end() && fits(value, *found, pointer)) {
    const bool named = found->is_object() && found->contains("description");
    add(value.mark(), pointer, "this has a form that is not allowed here",
        named ? (*found)["description"].get<std::string>() : std::string());
  }
  if (auto found = schema.find("if"); found != schema.end()) {
    auto next = schema.find(fits(value, *found, pointer) ? "then" : "else");
    if (next != schema.end()) node(value, *next, pointer);
  }
  if (auto found = schema.find("dependentSchemas"); found != schema.end()) {
    for (const auto& [key, part] : found->items()) {
      if (value.find(key) != nullptr) node(value, part, pointer);
    }
  }
}

}  // namespace hyperhost
