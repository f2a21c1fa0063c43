// SPDX-License-Identifier: Apache-2.0
// Does a schema stay within what the engine understands? A keyword silently ignored would let a
// plan pass that its author believes to be checked.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/pattern.hpp"
#include "core/config/schema.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

enum class Shape {
  kAny,
  kText,
  kFlag,
  kCount,
  kNumber,
  kTexts,
  kSchema,
  kSchemas,
  kSchemaMap,
  kValues
};

struct Keyword {
  std::string_view name;
  Shape shape;
};

constexpr std::array kKeywords = {
    Keyword{"$schema", Shape::kText},
    Keyword{"$id", Shape::kText},
    Keyword{"$comment", Shape::kText},
    Keyword{"title", Shape::kText},
    Keyword{"description", Shape::kText},
    Keyword{"examples", Shape::kAny},
    Keyword{"deprecated", Shape::kFlag},
    Keyword{"default", Shape::kAny},
    Keyword{"type", Shape::kAny},
    Keyword{"enum", Shape::kValues},
    Keyword{"const", Shape::kAny},
    Keyword{"$ref", Shape::kText},
    Keyword{"$defs", Shape::kSchemaMap},
    Keyword{"anyOf", Shape::kSchemas},
    Keyword{"oneOf", Shape::kSchemas},
    Keyword{"properties", Shape::kSchemaMap},
    Keyword{"required", Shape::kTexts},
    Keyword{"additionalProperties", Shape::kSchema},
    Keyword{"minProperties", Shape::kCount},
    Keyword{"maxProperties", Shape::kCount},
    Keyword{"items", Shape::kSchema},
    Keyword{"minItems", Shape::kCount},
    Keyword{"maxItems", Shape::kCount},
    Keyword{"uniqueItems", Shape::kFlag},
    Keyword{"pattern", Shape::kText},
    Keyword{"minLength", Shape::kCount},
    Keyword{"maxLength", Shape::kCount},
    Keyword{"minimum", Shape::kNumber},
    Keyword{"maximum", Shape::kNumber},
    Keyword{"exclusiveMinimum", Shape::kNumber},
    Keyword{"exclusiveMaximum", Shape::kNumber},
    Keyword{"x-hyper-secret", Shape::kFlag},
    Keyword{"x-hyper-duration", Shape::kFlag},
    Keyword{"x-hyper-size", Shape::kFlag},
    Keyword{"x-hyper-path", Shape::kFlag},
    Keyword{"x-hyper-form", Shape::kText},
    Keyword{"x-hyper-per-vm", Shape::kFlag},
    Keyword{"x-hyper-memory", Shape::kCount},
};

class SchemaChecker {
 public:
  explicit SchemaChecker(const json& root) : root_(root) {}
  std::vector<std::string> complaints;

  void node(const json& schema, const std::string& at, int depth) {
    if (schema.is_boolean()) return;
    if (!schema.is_object() || depth > kMaxDepth) {
      return complain(
          at, schema.is_object() ? "it is nested too deeply" : "a schema must be an object");
    }
    for (const auto& [name, value] : schema.items()) {
      const auto known = std::find_if(
          kKeywords.begin(), kKeywords.end(),
          [&, key = std::string_view(name)](const Keyword& one) { return one.name == key; });
      if (known != kKeywords.end()) {
        keyword(known->shape, value, pointer_join(at, name), depth);
      } else if (!name.starts_with("x-") || name.starts_with("x-hyper-")) {
        complain(at, "the keyword '" + name + "' is not supported");
      }
    }
    type(schema, at);
    reference(schema, at);
    pattern(schema, at);
  }

  /// After node(): are the defaults right by their own schema? A property may have none of its
  /// own type's required keys, so only complete defaults pass.
  void defaults(const json& schema, const std::string& at, int depth) {
    if (!schema.is_object() || depth > kMaxDepth) return;
    if (auto found = schema.find("default"); found != schema.end()) {
      ConfigValue value = ConfigValue::from_json(*found, {});
      json rooted = schema;
      if (root_.contains("$defs")) rooted["$defs"] = root_["$defs"];
      std::vector<Diagnostic> problems;
      if (!validate(value, rooted, "", {}, problems)) {
        complain(at, "the default does not fit: " + problems.front().summary);
      }
    }
    for (const char* key : {"properties", "$defs"}) {
      if (!schema.contains(key)) continue;
      for (const auto& [name, part] : schema[key].items()) {
        defaults(part, pointer_join(pointer_join(at, key), name), depth + 1);
      }
    }
    for (const char* key : {"items", "additionalProperties"}) {
      if (schema.contains(key)) defaults(schema[key], pointer_join(at, key), depth + 1);
    }
    for (const char* key : {"anyOf", "oneOf"}) {
      if (!schema.contains(key)) continue;
      for (size_t i = 0; i < schema[key].size(); ++i) {
        defaults(schema[key][i], pointer_join(pointer_join(at, key), i), depth + 1);
      }
    }
  }

 private:
  void complain(const std::string& at, const std::string& what) {
    if (complaints.size() < 100) complaints.push_back("at '" + at + "': " + what);
  }

  void keyword(Shape shape, const json& value, const std::string& at, int depth) {
    const auto all_schemas = [&] {
      for (const auto& [name, part] : value.items()) node(part, pointer_join(at, name), depth + 1);
    };
    bool fits = true;
    switch (shape) {
      case Shape::kAny:
        break;
      case Shape::kText:
        fits = value.is_string();
        break;
      case Shape::kFlag:
        fits = value.is_boolean();
        break;
      case Shape::kCount:
        fits = value.is_number_unsigned();
        break;
      case Shape::kNumber:
        fits = value.is_number();
        break;
      case Shape::kValues:
        fits = value.is_array() && !value.empty();
        break;
      case Shape::kTexts:
        fits = value.is_array() && std::all_of(value.begin(), value.end(),
                                               [](const json& one) { return one.is_string(); });
        break;
      case Shape::kSchema:
        node(value, at, depth + 1);
        break;
      case Shape::kSchemas:
        fits = value.is_array() && !value.empty();
        if (fits) all_schemas();
        break;
      case Shape::kSchemaMap:
        fits = value.is_object();
        if (fits) all_schemas();
        break;
    }
    if (!fits) complain(at, "the keyword's value has the wrong form");
  }

  void type(const json& schema, const std::string& at) {
    auto found = schema.find("type");
    if (found == schema.end()) return;
    const json list = found->is_array() ? *found : json::array({*found});
    constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "string", "array",
                                                        "object", "number",  "integer"};
    const bool good = !list.empty() && std::all_of(list.begin(), list.end(), [&](const json& one) {
      return one.is_string() &&
             std::find(kTypes.begin(), kTypes.end(), one.get<std::string>()) != kTypes.end();
    });
    if (!good) complain(at, "'type' names no type of JSON");
  }

  void reference(const json& schema, const std::string& at) {
    auto found = schema.find("$ref");
    if (found == schema.end() || !found->is_string()) return;
    const auto target = found->get<std::string>();
    try {
      if (target.starts_with("#/$defs/") && root_.contains(json::json_pointer(target.substr(1)))) {
        const json& schema_there = root_.at(json::json_pointer(target.substr(1)));
        if (schema_there.is_object() || schema_there.is_boolean()) return;
      }
    } catch (const json::exception&) {  // not a JSON Pointer: said below
    }
    complain(at, "'$ref' must name something in '#/$defs/'");
  }

  void pattern(const json& schema, const std::string& at) {
    auto found = schema.find("pattern");
    if (found == schema.end() || !found->is_string()) return;
    if (!pattern_is_valid(found->get<std::string>())) {
      complain(at, "'pattern' is not a regular expression, or has back-references");
    }
  }

  const json& root_;
};

}  // namespace

std::vector<std::string> check_schema(const nlohmann::json& schema) {
  SchemaChecker checker(schema);
  checker.node(schema, "", 0);
  if (checker.complaints.empty()) checker.defaults(schema, "", 0);
  return std::move(checker.complaints);
}

}  // namespace hyperhost
