// SPDX-License-Identifier: Apache-2.0
#include "core/config/schema.hpp"

#include <iterator>

#include "core/config/schema_validator.hpp"

namespace hyperhost {

using nlohmann::json;
using namespace schema_rules;

namespace {

constexpr int kMaxDepth = 1500;  // of nested calls; what YAML and documents allow needs far less

/// "%25" is "%" where a JSON Pointer stands in a URI fragment.
std::string unescaped(const std::string& fragment) {
  std::string out;
  for (size_t i = 0; i < fragment.size(); ++i) {
    const auto hex = [&](size_t at) {
      const char c = at < fragment.size() ? fragment[at] : '\0';
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    if (fragment[i] == '%' && hex(i + 1) >= 0 && hex(i + 2) >= 0) {
      out += static_cast<char>(hex(i + 1) * 16 + hex(i + 2));
      i += 2;
    } else {
      out += fragment[i];
    }
  }
  return out;
}

}  // namespace

const json* schema_rules::referenced(const json& root, const std::string& reference) {
  if (reference == "#") return &root;
  if (!reference.starts_with("#/")) return nullptr;
  try {
    const json::json_pointer pointer(unescaped(reference.substr(1)));
    return root.contains(pointer) ? &root.at(pointer) : nullptr;
  } catch (const json::exception&) {  // not a JSON Pointer
    return nullptr;
  }
}

void SchemaValidator::add(const Mark& mark, const std::string& pointer, std::string summary,
                          std::string hint) {
  if (problems_.size() >= kMaxProblems) return;
  Diagnostic diagnostic;
  diagnostic.code = Code::kConfig;
  diagnostic.where = mark.where();
  diagnostic.path = pointer;
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  problems_.push_back(std::move(diagnostic));
}

bool SchemaValidator::affordable(const ConfigValue& value, const std::string& pointer) {
  if (budget_.steps > 0 && budget_.depth < kMaxDepth) {
    --budget_.steps;
    return true;
  }
  add(value.mark(), pointer,
      budget_.steps == 0 ? "checking this against its schema takes too long"
                         : "this is nested too deeply to be checked");
  return false;
}

const json& SchemaValidator::resolve(const json& target) const {
  return *referenced(root_, target.get_ref<const std::string&>());
}

void SchemaValidator::node(ConfigValue& value, const json& schema, const std::string& pointer) {
  if (!affordable(value, pointer)) return;
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) add(value.mark(), pointer, "nothing may stand here");
    return;
  }
  ++budget_.depth;
  rules(value, schema, pointer);
  --budget_.depth;
}

void SchemaValidator::rules(ConfigValue& value, const json& schema, const std::string& pointer) {
  if (auto target = schema.find("$ref"); target != schema.end()) {
    const size_t before = problems_.size();
    node(value, resolve(*target), pointer);
    if (problems_.size() != before) return;
  }
  if (flag(schema, "x-hyper-secret")) return secret(value, pointer);
  if (!type(value, schema, pointer)) return;
  if (!units(value, schema, pointer)) return;
  constants(value, schema, pointer);
  if (value.string() != nullptr) text(value, schema, pointer);
  if (value.integer() != nullptr || value.number() != nullptr) number(value, schema, pointer);
  if (value.sequence() != nullptr) list(value, schema, pointer);
  if (value.members() != nullptr) object(value, schema, pointer);
  if (auto found = schema.find("allOf"); found != schema.end()) all_of(value, *found, pointer);
  if (auto found = schema.find("anyOf"); found != schema.end())
    one_of(value, *found, false, pointer);
  if (auto found = schema.find("oneOf"); found != schema.end())
    one_of(value, *found, true, pointer);
  conditions(value, schema, pointer);
}

bool validate(ConfigValue& value, const json& schema, const std::string& pointer,
              const SchemaContext& context, std::vector<Diagnostic>& problems) {
  return validate_part(value, schema, schema, pointer, context, problems);
}

bool validate_part(ConfigValue& value, const json& root, const json& schema,
                   const std::string& pointer, const SchemaContext& context,
                   std::vector<Diagnostic>& problems) {
  std::vector<Diagnostic> found;
  SchemaValidator::Budget budget;
  SchemaValidator(root, context, budget, found).node(value, schema, pointer);
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
