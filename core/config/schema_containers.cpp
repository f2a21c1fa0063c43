// SPDX-License-Identifier: Apache-2.0
// The rules for lists and mappings, and the defaults of what a mapping does not have.
#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/base/near_miss.hpp"
#include "core/base/pattern.hpp"
#include "core/config/schema_validator.hpp"

namespace hyperhost {

using nlohmann::json;
using namespace schema_rules;

namespace {

const json& part_of(const json& schema, const char* key) {
  static const json kNone = json::object();
  auto found = schema.find(key);
  return found == schema.end() ? kNone : *found;
}

/// 1.0 becomes 1, so that equal values have equal texts.
void canonical(json& value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.is_number_float()) {
    const double real = value.get<double>();
    if (std::trunc(real) == real && std::abs(real) <= kExact) value = static_cast<int64_t>(real);
  } else if (value.is_structured()) {
    for (json& one : value) canonical(one);
  }
}

}  // namespace

void SchemaValidator::list(ConfigValue& value, const json& schema, const std::string& pointer) {
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
      json item = items[i].to_json();
      canonical(item);
      if (!seen.insert(item.dump(-1, ' ', false, json::error_handler_t::replace)).second)
        add(items[i].mark(), pointer_join(pointer, i), "this item is in the list twice");
    }
  }
  size_t done = 0;
  if (auto found = schema.find("prefixItems"); found != schema.end()) {
    for (; done < items.size() && done < found->size(); ++done)
      node(items[done], (*found)[done], pointer_join(pointer, done));
  }
  if (auto found = schema.find("items"); found != schema.end()) {
    for (; done < items.size() && problems_.size() < kMaxProblems; ++done)
      node(items[done], *found, pointer_join(pointer, done));
  }
  contained(value, schema, pointer);
}

void SchemaValidator::contained(ConfigValue& value, const json& schema,
                                const std::string& pointer) {
  auto found = schema.find("contains");
  if (found == schema.end()) return;
  const ConfigValue::Sequence& items = *value.sequence();
  const auto fitting =
      static_cast<size_t>(std::count_if(items.begin(), items.end(), [&](const ConfigValue& one) {
        return fits(one, *found, pointer);
      }));
  const size_t least = schema.value("minContains", size_t{1});
  if (fitting < least) {
    add(value.mark(), pointer,
        "the list has " + std::to_string(fitting) + " of at least " + std::to_string(least) +
            " items that are wanted in it");
  }
  if (schema.contains("maxContains") && fitting > schema["maxContains"].get<size_t>())
    add(value.mark(), pointer,
        "the list has more than " + schema["maxContains"].dump() + " items of one form");
}

void SchemaValidator::object(ConfigValue& value, const json& schema, const std::string& pointer) {
  const json& properties = part_of(schema, "properties");
  if (auto required = schema.find("required"); required != schema.end()) {
    for (const json& key : *required) missing(value, key.get<std::string>(), properties, pointer);
  }
  for (const auto& [key, needed] : part_of(schema, "dependentRequired").items()) {
    if (value.find(key) == nullptr) continue;
    for (const json& other : needed) {
      if (value.find(other.get_ref<const std::string&>()) == nullptr)
        add(value.mark(), pointer, "the key '" + other.get<std::string>() + "' is missing",
            "'" + key + "' needs it");
    }
  }
  size_of(value, schema, pointer);
  members(value, schema, pointer);
  for (const auto& [key, property] : properties.items()) {
    const json* fallback = default_of(property);
    if (fallback == nullptr || value.find(key) != nullptr) continue;
    ConfigValue filled = ConfigValue::from_json(*fallback, value.mark());
    node(filled, property, pointer_join(pointer, key));
    value.set(key, std::move(filled), value.mark());
  }
}

void SchemaValidator::size_of(const ConfigValue& value, const json& schema,
                              const std::string& pointer) {
  const size_t size = value.members()->size();
  if (schema.contains("minProperties") && size < schema["minProperties"].get<size_t>()) {
    add(value.mark(), pointer,
        size == 0 ? "the mapping must not be empty" : "the mapping has too few keys");
  }
  if (schema.contains("maxProperties") && size > schema["maxProperties"].get<size_t>())
    add(value.mark(), pointer, "the mapping has too many keys");
}

void SchemaValidator::members(ConfigValue& value, const json& schema, const std::string& pointer) {
  const json& properties = part_of(schema, "properties");
  const json& patterns = part_of(schema, "patternProperties");
  auto others = schema.find("additionalProperties");
  auto names = schema.find("propertyNames");
  ConfigValue::Mapping& all = *value.members();
  for (size_t i = 0; i < all.size() && problems_.size() < kMaxProblems; ++i) {
    const std::string path = pointer_join(pointer, all[i].key);
    if (names != schema.end()) {
      ConfigValue name(all[i].key, all[i].key_mark);
      node(name, *names, path);
    }
    bool known = false;
    if (auto found = properties.find(all[i].key); found != properties.end()) {
      known = true;
      node(all[i].value, *found, path);
    }
    for (const auto& [pattern, part] : patterns.items()) {
      budget_.steps -= std::min(budget_.steps, all[i].key.size());
      if (!pattern_matches(pattern, all[i].key)) continue;
      known = true;
      node(all[i].value, part, path);
    }
    if (known || others == schema.end()) continue;
    if (others->is_boolean() && !others->get<bool>())
      unknown_key(value, i, properties, path);
    else
      node(all[i].value, *others, path);
  }
}

void SchemaValidator::missing(const ConfigValue& value, const std::string& key,
                              const json& properties, const std::string& pointer) {
  if (value.find(key) != nullptr) return;
  std::string hint;
  if (auto found = properties.find(key); found != properties.end() && found->is_object()) {
    hint = found->value("description", std::string());
    if (hint.ends_with('.')) hint.pop_back();
  }
  add(value.mark(), pointer, "the key '" + key + "' is missing", std::move(hint));
}

void SchemaValidator::unknown_key(const ConfigValue& value, size_t index, const json& properties,
                                  const std::string& path) {
  const ConfigValue::Member& member = (*value.members())[index];
  std::vector<std::string> known;
  for (const auto& [key, property] : properties.items()) known.push_back(key);
  const std::string shown = member.key.size() <= 64 ? member.key : member.key.substr(0, 61) + "...";
  std::string hint = suggest(member.key, known);
  for (const auto& [key, property] : properties.items()) {
    if (!part_of(property, "properties").contains(member.key)) continue;
    hint = "it belongs to '" + key + "': " + key + ": {" + shown + ": …}";
    break;
  }
  add(member.key_mark, path, "unknown key '" + shown + "'", std::move(hint));
}

const json* SchemaValidator::default_of(const json& property) const {
  const json* schema = &property;
  for (int i = 0; i < kMaxReferences && schema->is_object(); ++i) {
    if (auto found = schema->find("default"); found != schema->end()) return &*found;
    auto target = schema->find("$ref");
    if (target == schema->end()) return nullptr;
    schema = &resolve(*target);
  }
  return nullptr;
}

}  // namespace hyperhost
