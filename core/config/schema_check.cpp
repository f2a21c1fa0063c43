// SPDX-License-Identifier: Apache-2.0
// Does a schema stay within what the engine understands? A keyword silently ignored would let a
// plan pass that its author believes to be checked. Schemas come from third parties' manifests, so
// size, depth and references are bounded here.
#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "core/base/pattern.hpp"
#include "core/config/schema.hpp"
#include "core/config/schema_format.hpp"
#include "core/config/schema_validator.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

constexpr int kMaxSchemaDepth = 64;
constexpr size_t kMaxNodes = 20'000;

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
  kTextsMap,
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
    Keyword{"allOf", Shape::kSchemas},
    Keyword{"anyOf", Shape::kSchemas},
    Keyword{"oneOf", Shape::kSchemas},
    Keyword{"not", Shape::kSchema},
    Keyword{"if", Shape::kSchema},
    Keyword{"then", Shape::kSchema},
    Keyword{"else", Shape::kSchema},
    Keyword{"dependentSchemas", Shape::kSchemaMap},
    Keyword{"dependentRequired", Shape::kTextsMap},
    Keyword{"properties", Shape::kSchemaMap},
    Keyword{"patternProperties", Shape::kSchemaMap},
    Keyword{"propertyNames", Shape::kSchema},
    Keyword{"required", Shape::kTexts},
    Keyword{"additionalProperties", Shape::kSchema},
    Keyword{"minProperties", Shape::kCount},
    Keyword{"maxProperties", Shape::kCount},
    Keyword{"prefixItems", Shape::kSchemas},
    Keyword{"items", Shape::kSchema},
    Keyword{"contains", Shape::kSchema},
    Keyword{"minContains", Shape::kCount},
    Keyword{"maxContains", Shape::kCount},
    Keyword{"minItems", Shape::kCount},
    Keyword{"maxItems", Shape::kCount},
    Keyword{"uniqueItems", Shape::kFlag},
    Keyword{"format", Shape::kText},
    Keyword{"pattern", Shape::kText},
    Keyword{"minLength", Shape::kCount},
    Keyword{"maxLength", Shape::kCount},
    Keyword{"minimum", Shape::kNumber},
    Keyword{"maximum", Shape::kNumber},
    Keyword{"exclusiveMinimum", Shape::kNumber},
    Keyword{"exclusiveMaximum", Shape::kNumber},
    Keyword{"multipleOf", Shape::kNumber},
    Keyword{"x-hyper-secret", Shape::kFlag},
    Keyword{"x-hyper-duration", Shape::kFlag},
    Keyword{"x-hyper-size", Shape::kFlag},
    Keyword{"x-hyper-path", Shape::kFlag},
    Keyword{"x-hyper-form", Shape::kText},
    Keyword{"x-hyper-per-vm", Shape::kFlag},
    Keyword{"x-hyper-memory", Shape::kCount},
};

/// Keywords whose schemas look at the value itself, not at a part of it.
constexpr std::array<std::string_view, 9> kInPlace = {
    "$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"};

class SchemaChecker {
 public:
  explicit SchemaChecker(const json& root) : root_(root) {}
  std::vector<std::string> complaints;

  void node(const json& schema, const std::string& at, int depth) {
    if (schema.is_boolean()) return;
    if (!schema.is_object() || depth > kMaxSchemaDepth) {
      return complain(
          at, schema.is_object() ? "it is nested too deeply" : "a schema must be an object");
    }
    if (!seen_.insert(&schema).second) return;
    order_.push_back(&schema);
    places_[&schema] = at;
    if (seen_.size() > kMaxNodes) return complain("", "it has too many parts");
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
    words(schema, at);
    type(schema, at);
    reference(schema, at, depth);
  }

  /// After node(): does checking one value ever end? Parts of a value are smaller than the value;
  /// what looks at the same value must not come back to itself, nor through too many others.
  void endless() {
    std::map<const json*, int> chains;
    for (const json* schema : order_) {
      if (chain(*schema, chains, 0) < 0)
        return complain("", "a '$ref' leads back to itself, or through more than " +
                                std::to_string(schema_rules::kMaxReferences) + " others");
    }
  }

  /// After endless(): are the defaults right by their own schema? A property may have none of its
  /// own type's required keys, so only complete defaults pass.
  void defaults() {
    for (const json* schema : order_) {
      auto found = schema->find("default");
      if (found == schema->end()) continue;
      ConfigValue value = ConfigValue::from_json(*found, {});
      std::vector<Diagnostic> problems;
      if (!validate_part(value, root_, *schema, "", {}, problems))
        complain(places_[schema], "the default does not fit: " + problems.front().summary);
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
      case Shape::kTextsMap:
        fits = value.is_object();
        if (fits) {
          for (const auto& [name, texts] : value.items())
            keyword(Shape::kTexts, texts, pointer_join(at, name), depth);
        }
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

  /// What a keyword's form alone does not say.
  void words(const json& schema, const std::string& at) {
    if (!at.empty() && schema.contains("$id"))
      complain(at, "'$id' may stand at the schema's top only");
    auto text = schema.find("pattern");
    if (text != schema.end() && text->is_string()) pattern(text->get<std::string>(), at);
    auto patterns = schema.find("patternProperties");
    if (patterns != schema.end() && patterns->is_object()) {
      for (const auto& [one, part] : patterns->items()) pattern(one, at);
    }
    auto format = schema.find("format");
    if (format != schema.end() && format->is_string() &&
        !format_is_known(format->get<std::string>())) {
      complain(at, "the format '" + format->get<std::string>() + "' is not supported; known are " +
                       known_formats());
    }
    auto unit = schema.find("multipleOf");
    if (unit != schema.end() && unit->is_number() && unit->get<double>() <= 0)
      complain(at, "'multipleOf' must be more than 0");
  }

  void pattern(const std::string& text, const std::string& at) {
    if (const std::string why = pattern_problem(text); !why.empty())
      complain(at, "the pattern '" + text.substr(0, 64) + "' " + why);
  }

  void reference(const json& schema, const std::string& at, int depth) {
    auto found = schema.find("$ref");
    if (found == schema.end() || !found->is_string()) return;
    const json* target = schema_rules::referenced(root_, found->get<std::string>());
    if (target == nullptr || !(target->is_object() || target->is_boolean()))
      return complain(at, "'$ref' must name a part of this schema, as in '#/$defs/NAME'");
    // Where the walk over keywords does not come by, it is checked here.
    node(*target, found->get<std::string>().substr(1), depth + 1);
  }

  /// The longest way through kInPlace from here, -1 where it has no end.
  int chain(const json& schema, std::map<const json*, int>& known, int depth) const {
    if (!schema.is_object()) return 0;
    if (auto found = known.find(&schema); found != known.end()) return found->second;
    if (depth > schema_rules::kMaxReferences) return -1;
    known[&schema] = -1;  // on the way: to come by again is a circle
    int longest = 0;
    const auto follow = [&](const json& part) {
      const int length = longest < 0 ? -1 : chain(part, known, depth + 1);
      longest =
          length < 0 || length >= schema_rules::kMaxReferences ? -1 : std::max(longest, length + 1);
    };
    for (const std::string_view name : kInPlace) {
      auto found = schema.find(name);
      if (found == schema.end()) continue;
      if (name == "$ref")
        follow(*schema_rules::referenced(root_, found->get<std::string>()));
      else if (found->is_array() || name == "dependentSchemas")
        for (const json& part : *found) follow(part);
      else
        follow(*found);
    }
    return known[&schema] = longest;
  }

  const json& root_;
  std::set<const json*> seen_;
  std::vector<const json*> order_;  // so that complaints come in the schema's order
  std::map<const json*, std::string> places_;
};

}  // namespace

std::vector<std::string> check_schema(const nlohmann::json& schema) {
  SchemaChecker checker(schema);
  checker.node(schema, "", 0);
  if (checker.complaints.empty()) checker.endless();
  if (checker.complaints.empty()) checker.defaults();
  return std::move(checker.complaints);
}

}  // namespace hyperhost
