// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/document_schema.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/config/schema.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using Schemas = std::map<std::string, json, std::less<>>;

/// Puts the members of other documents in place of references to them ({"$ref": "machine.json"}).
/// The schemas are compiled in, and none refers to itself.
void include_documents(json& part) {
  if (!part.is_structured()) return;
  const auto ref = part.is_object() ? part.find("$ref") : part.end();
  const std::string file =
      ref != part.end() && ref->is_string() ? ref->get<std::string>() : std::string();
  if (file.size() < 5 || file.substr(file.size() - 5) != ".json") {
    for (json& one : part) include_documents(one);
    return;
  }
  const auto& texts = document_texts();
  const auto found = std::find_if(texts.begin(), texts.end(), [&](const DocumentText& one) {
    return std::string(one.name) + ".json" == file;
  });
  if (found == texts.end()) throw std::logic_error("there is no schema " + file);
  const json other = json::parse(found->text);
  part.erase("$ref");
  for (const char* member : {"type", "required", "properties"})
    if (other.contains(member)) part[member] = other[member];
  part["properties"].erase("must_understand");
}

const Schemas& schemas() {
  static const Schemas all = [] {
    Schemas made;
    for (const DocumentText& one : document_texts()) {
      json schema = json::parse(one.text);
      include_documents(schema);
      if (const auto complaints = check_schema(schema); !complaints.empty())
        throw std::logic_error("the schema of " + std::string(one.name) +
                               " is unusable: " + complaints.front());
      made.emplace(one.name, std::move(schema));
    }
    return made;
  }();
  return all;
}

/// Recursion ends at the limit, so that this is safe with any document.
bool deeper_than(const json& value, int limit) {
  if (!value.is_structured()) return false;
  return limit == 0 || std::any_of(value.begin(), value.end(),
                                   [&](const json& one) { return deeper_than(one, limit - 1); });
}

/// The schema that $ref points to, in place of the reference. The schemas are compiled in, so their
/// references are valid.
const json& followed(const json& root, const json& schema) {
  const json* at = &schema;
  while (at->is_object() && at->contains("$ref"))
    at = &root.at(json::json_pointer(at->at("$ref").get_ref<const std::string&>().substr(1)));
  return *at;
}

/// Whether the schema has a member at this pointer: by name, as an item, or through
/// additionalProperties.
bool knows(const json& root, json::json_pointer pointer) {
  std::vector<std::string> tokens;
  for (; !pointer.empty(); pointer.pop_back()) tokens.push_back(pointer.back());
  const json* at = &root;
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    const json& schema = followed(root, *at);
    const auto properties = schema.find("properties");
    if (properties != schema.end() && properties->contains(*token))
      at = &(*properties)[*token];
    else if (const auto items = schema.find("items"); items != schema.end())
      at = &*items;
    else if (const auto more = schema.find("additionalProperties");
             more != schema.end() && more->is_object())
      at = &*more;
    else
      return false;
  }
  return true;
}

/// REQUIRES: a document of bounded depth.
void drop_nulls(json& value) {
  if (!value.is_structured()) return;
  for (auto member = value.begin(); member != value.end();) {
    if (value.is_object() && member->is_null()) {
      member = value.erase(member);
    } else {
      drop_nulls(*member);
      ++member;
    }
  }
}

}  // namespace

const std::vector<std::string>& document_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> made;
    for (const auto& [name, schema] : schemas()) made.push_back(name);
    return made;
  }();
  return names;
}

const json& document_schema(std::string_view name) {
  const auto found = schemas().find(name);
  if (found == schemas().end()) throw std::logic_error("there is no document " + std::string(name));
  return found->second;
}

std::vector<Diagnostic> document_problems(std::string_view name, const json& document) {
  std::vector<Diagnostic> problems;
  if (deeper_than(document, kMaxDocumentDepth)) {
    Diagnostic problem;
    problem.summary = "it is nested deeper than " + std::to_string(kMaxDocumentDepth) + " levels";
    problems.push_back(std::move(problem));
    return problems;
  }
  const json& schema = document_schema(name);
  ConfigValue value;
  if (document.is_object()) {  // members without a schema stay out: a state may have megabytes
    value = ConfigValue::mapping();
    for (const auto& [key, member] : document.items())
      if (schema["properties"].contains(key)) value.set(key, ConfigValue::from_json(member, {}));
  } else {
    value = ConfigValue::from_json(document, {});
  }
  SchemaContext context;
  context.references_for_text = false;  // {"env": …} does not stand for a text here
  validate(value, schema, "", context, problems);
  return problems;
}

std::string not_understood(std::string_view name, const json& document) {
  const auto found = document.find("must_understand");
  if (found == document.end() || !found->is_array()) return {};
  const json& schema = document_schema(name);
  for (const json& one : *found) {
    if (!one.is_string()) continue;
    const auto& pointer = one.get_ref<const std::string&>();
    try {
      if (!knows(schema, json::json_pointer(pointer))) return pointer;
    } catch (const json::exception&) {  // not a JSON Pointer: no schema has such a member
      return pointer;
    }
  }
  return {};
}

void check_form(std::string_view name, const json& document, const std::string& what) {
  const auto problems = document_problems(name, document);
  if (problems.empty()) return;
  const Diagnostic& first = problems.front();
  throw Error(Code::kFail,
              what + " gave a wrong document: " + (first.path.empty() ? "" : first.path + ": ") +
                  first.summary,
              first.hint, "the form is " + std::string(name) + ".json of the plugin SDK");
}

void check_document(std::string_view name, const json& document, const std::string& what) {
  check_form(name, document, what);
  const std::string pointer = not_understood(name, document);
  if (pointer.empty()) return;
  Diagnostic diagnostic;
  diagnostic.code = Code::kUnsupported;
  diagnostic.summary =
      what + " answers with a member that must be understood and is not known here";
  diagnostic.detail = pointer;
  diagnostic.hint = "update hyperhost, or use an older version of the plugin";
  diagnostic.path = pointer;
  throw Error(std::move(diagnostic));
}

json accepted_answer(std::string_view name, json answer, const std::string& what) {
  // The plugin gets its tokens back, for itself to understand: they stay as it wrote them.
  if (name == "sink.token") {
    check_form(name, answer, what);
    return answer;
  }
  check_document(name, answer, what);
  drop_nulls(answer);
  return answer;
}

}  // namespace hyperhost
