// SPDX-License-Identifier: Apache-2.0
// The schema engine against Debian's json-schema-test-suite (draft 7, the newest it has). Schemas
// are rewritten to 2020-12 first, where a keyword only changed its name or form.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config/schema.hpp"
#include "core/config/schema_format.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kSuite = "/usr/share/json-schema-test-suite/tests/draft7";

json to_2020(const json& schema);

json to_2020_each(const json& parts) {
  json made = parts;
  for (auto& part : made) part = to_2020(part);
  return made;
}

/// A draft 7 schema in the words of 2020-12.
json to_2020(const json& schema) {
  if (!schema.is_object()) return schema;
  json made = json::object();
  if (schema.contains("$ref") && schema["$ref"].is_string()) {  // draft 7 ignores what is beside it
    made["$ref"] = schema["$ref"];
    for (const char* kept : {"definitions", "$id"})
      if (schema.contains(kept))
        made[kept] = std::string(kept) == "$id" ? schema[kept] : to_2020_each(schema[kept]);
    return made;
  }
  for (const auto& [key, value] : schema.items()) {
    if (key == "items" && value.is_array()) {
      if (!value.empty()) made["prefixItems"] = to_2020_each(value);
    } else if (key == "additionalItems") {
      if (schema.contains("items") && schema["items"].is_array()) made["items"] = to_2020(value);
    } else if (key == "dependencies") {
      for (const auto& [name, needed] : value.items())
        made[needed.is_array() ? "dependentRequired" : "dependentSchemas"][name] =
            needed.is_array() ? needed : to_2020(needed);
    } else if (key == "properties" || key == "patternProperties" || key == "definitions") {
      made[key] = to_2020_each(value);
    } else if (key == "allOf" || key == "anyOf" || key == "oneOf") {
      made[key] = to_2020_each(value);
    } else if (key == "enum" || key == "const" || key == "default" || key == "required") {
      made[key] = value;
    } else {
      made[key] = to_2020(value);
    }
  }
  return made;
}

/// `definitions` is a place for parts that 2020-12 calls `$defs`; references follow.
json renamed(const json& schema) {
  std::string text = schema.dump();
  for (const auto& [from, to] :
       std::map<std::string, std::string>{{"\"definitions\":", "\"$defs\":"},
                                          {"#/definitions/", "#/$defs/"},
                                          {"\"#/items/", "\"#/prefixItems/"}}) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  }
  return json::parse(text);
}

struct Outcome {
  std::set<std::string> refused;  // "FILE: GROUP"
  size_t passed = 0;
};

void run_file(const fs::path& path, Outcome& out) {
  std::ifstream file(path);
  for (const json& group : json::parse(file)) {
    const std::string name =
        path.filename().string() + ": " + group["description"].get<std::string>();
    const json schema = renamed(to_2020(group["schema"]));
    if (!check_schema(schema).empty()) {
      out.refused.insert(name);
      continue;
    }
    for (const json& test : group["tests"]) {
      ConfigValue value = ConfigValue::from_json(test["data"], {});
      std::vector<Diagnostic> problems;
      SchemaContext context;
      context.references_for_text = false;
      EXPECT_EQ(validate(value, schema, "", context, problems), test["valid"].get<bool>())
          << name << ": " << test["description"] << "\nschema " << schema << "\ndata "
          << test["data"] << (problems.empty() ? "" : "\n" + to_string(problems[0]));
      ++out.passed;
    }
  }
}

bool suite_is_there() {
  if (fs::exists(kSuite)) return true;
  const char* ci = std::getenv("CI");
  EXPECT_FALSE(ci != nullptr && std::string(ci) == "true") << "json-schema-test-suite is missing";
  return false;
}

TEST(SchemaSuite, EveryKeywordDoesWhatTheSuiteSays) {
  if (!suite_is_there()) GTEST_SKIP() << "needs the package json-schema-test-suite";
  Outcome out;
  for (const auto& entry : fs::directory_iterator(kSuite))
    if (entry.is_regular_file()) run_file(entry.path(), out);
  // What the guide lists as left out, and nothing else.
  const std::set<std::string> left_out = {
      // A default that does not fit its own schema is refused.
      "default.json: invalid string value for default",
      "default.json: invalid type for default",
      // References to other documents and to the $id of a part.
      "definitions.json: invalid definition",
      "definitions.json: valid definition",
      "ref.json: Recursive references between schemas",
      "ref.json: remote ref, containing refs itself",
      "refRemote.json: base URI change",
      "refRemote.json: base URI change - change folder",
      "refRemote.json: base URI change - change folder in subschema",
      "refRemote.json: fragment within remote ref",
      "refRemote.json: ref within remote ref",
      "refRemote.json: remote ref",
      "refRemote.json: root ref in remote ref",
      // Parts below keywords that do not exist.
      "ref.json: escaped pointer ref",
  };
  EXPECT_EQ(out.refused, left_out);
  EXPECT_GT(out.passed, 390u);
}

TEST(SchemaSuite, EveryFormatDoesWhatTheSuiteSays) {
  if (!suite_is_there()) GTEST_SKIP() << "needs the package json-schema-test-suite";
  Outcome out;
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kSuite / "optional/format")) {
    if (!format_is_known(entry.path().stem().string())) continue;
    ++files;
    run_file(entry.path(), out);
  }
  EXPECT_EQ(files, 8u);  // all but uuid, which draft 7 does not have
  EXPECT_EQ(out.refused, std::set<std::string>{});
  EXPECT_GT(out.passed, 60u);
}

}  // namespace
}  // namespace hyperhost
