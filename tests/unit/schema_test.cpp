// SPDX-License-Identifier: Apache-2.0
// The schema engine where the public suite says nothing: its messages, its own marks together with
// allOf and friends, and schemas made to hurt.
#include "core/config/schema.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/base/pattern.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

std::string first_problem(const json& schema, const json& data) {
  EXPECT_THAT(check_schema(schema), IsEmpty());
  ConfigValue value = ConfigValue::from_json(data, {});
  std::vector<Diagnostic> problems;
  validate(value, schema, "", {}, problems);
  return problems.empty() ? "" : to_string(problems.front());
}

json completed(const json& schema, const json& data) {
  EXPECT_THAT(check_schema(schema), IsEmpty());
  ConfigValue value = ConfigValue::from_json(data, {});
  std::vector<Diagnostic> problems;
  EXPECT_TRUE(validate(value, schema, "", {}, problems))
      << (problems.empty() ? "" : to_string(problems.front()));
  return value.to_json();
}

std::string complaint(const json& schema) {
  const auto complaints = check_schema(schema);
  return complaints.empty() ? "" : complaints.front();
}

TEST(Schema, NewKeywordsNameThePlaceAndTheProblem) {
  EXPECT_THAT(
      first_problem(json::parse(R"({"dependentRequired": {"cert": ["key"]}})"), {{"cert", "x"}}),
      HasSubstr("the key 'key' is missing ('cert' needs it)"));
  EXPECT_THAT(
      first_problem(json::parse(R"({"properties": {"n": {"multipleOf": 512}}})"), {{"n", 513}}),
      HasSubstr("/n: must be a multiple of 512"));
  EXPECT_THAT(
      first_problem(json::parse(R"({"not": {"required": ["a"], "description": "leave out a"}})"),
                    {{"a", 1}}),
      HasSubstr("not allowed here (leave out a)"));
  EXPECT_THAT(first_problem(json::parse(R"({"format": "date-time"})"), "yesterday"),
              HasSubstr("this is not a date and time, e.g. 2026-11-24T00:18:43Z"));
  EXPECT_THAT(first_problem(json::parse(R"({"propertyNames": {"maxLength": 3}})"), {{"long", 1}}),
              HasSubstr("/long: must have at most 3 characters"));
}

TEST(Schema, AKeyOneLevelTooHighGetsItsPlace) {
  EXPECT_THAT(first_problem(json::parse(R"({"additionalProperties": false, "properties": {
                "tls": {"type": "object", "properties": {"insecure": {"type": "boolean"}}}}})"),
                            {{"insecure", true}}),
              HasSubstr("unknown key 'insecure' (it belongs to 'tls': tls: {insecure: …})"));
}

TEST(Schema, UnitsAndDefaultsPassThroughAllOfAndIf) {
  const json schema = json::parse(R"({
    "allOf": [
      {"properties": {"size": {"allOf": [{"type": ["string", "integer"], "x-hyper-size": true},
                                         {"type": ["string", "integer"]}]}}},
      {"properties": {"mode": {"default": "fast"}}}],
    "if": {"properties": {"mode": {"const": "slow"}}, "required": ["mode"]},
    "then": {"properties": {"wait": {"type": "string", "x-hyper-duration": true, "default": "2s"}}}})");
  EXPECT_EQ(completed(schema, {{"size", "64KiB"}}), json({{"size", 65536}, {"mode", "fast"}}));
  EXPECT_EQ(completed(schema, {{"mode", "slow"}}),
            json({{"mode", "slow"}, {"wait", 2'000'000'000}}));
}

TEST(Schema, ASizeIsNotNegative) {
  const json schema = json::parse(R"({"type": ["string", "integer"], "x-hyper-size": true})");
  EXPECT_THAT(first_problem(schema, -5), HasSubstr("a size cannot be less than 0"));
  EXPECT_EQ(completed(schema, 5), json(5));
}

TEST(Schema, WhatItDoesNotKnowIsRefused) {
  for (const char* schema :
       {R"({"unevaluatedProperties": false})", R"({"$anchor": "a"})", R"({"$dynamicRef": "#a"})",
        R"({"contentEncoding": "base64"})", R"({"x-hyper-no-such-mark": true})"})
    EXPECT_THAT(complaint(json::parse(schema)), HasSubstr("is not supported")) << schema;
  EXPECT_THAT(complaint(json::parse(R"({"format": "iri"})")),
              HasSubstr("the format 'iri' is not supported; known are date-time"));
  EXPECT_THAT(complaint(json::parse(R"({"multipleOf": 0})")), HasSubstr("more than 0"));
}

TEST(Schema, ReferencesStayInTheSchemaAndEnd) {
  for (const char* reference :
       {"https://example.org/schema.json", "other.json#/$defs/a", "#/$defs/missing", "#a"})
    EXPECT_THAT(complaint({{"$ref", reference}}), HasSubstr("must name a part of this schema"))
        << reference;
  EXPECT_THAT(complaint(json::parse(R"({"$ref": "#"})")), HasSubstr("back to itself"));
  EXPECT_THAT(complaint(json::parse(R"({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]},
                                                  "b": {"not": {"$ref": "#/$defs/a"}}}})")),
              HasSubstr("back to itself"));
  json chain = {{"$defs", json::object()}};
  for (int i = 0; i < 40; ++i)
    chain["$defs"]["a" + std::to_string(i)] = {{"$ref", "#/$defs/a" + std::to_string(i + 1)}};
  chain["$defs"]["a40"] = json::object();
  EXPECT_THAT(complaint(chain), HasSubstr("through more than 32 others"));
  // What only a reference finds is checked too.
  EXPECT_THAT(complaint(json::parse(R"({"$ref": "#/examples/0", "examples": [{"oops": 1}]})")),
              HasSubstr("'oops' is not supported"));
  // Names are escaped twice: as a JSON Pointer, and as a part of a URI.
  const json escaped = json::parse(R"({"$defs": {"a/b~c%d": {"type": "integer"}},
      "properties": {"x": {"$ref": "#/$defs/a~1b~0c%25d"}}})");
  EXPECT_EQ(first_problem(escaped, {{"x", 1}}), "");
  EXPECT_THAT(first_problem(escaped, {{"x", "1"}}), HasSubstr("/x: expected"));
  // A tree of itself is fine: its parts are smaller than it.
  const json tree = json::parse(R"({"type": "object", "additionalProperties": {"$ref": "#"}})");
  EXPECT_EQ(first_problem(tree, json::parse(R"({"a": {"b": {}}})")), "");
  EXPECT_THAT(first_problem(tree, json::parse(R"({"a": {"b": 1}})")), HasSubstr("/a/b: expected"));
}

TEST(Schema, BranchesThatDoubleAtEachStepEnd) {
  json schema = {{"$defs", json::object()}, {"$ref", "#/$defs/a0"}};
  for (int i = 0; i < 24; ++i) {
    const json next = {{"$ref", "#/$defs/a" + std::to_string(i + 1)}};
    schema["$defs"]["a" + std::to_string(i)] = {{"oneOf", {next, next}}};
  }
  schema["$defs"]["a24"] = {{"type", "string"}};
  schema["$defs"]["a0"] = {{"allOf", {{{"$ref", "#/$defs/a1"}}, {{"$ref", "#/$defs/a1"}}}}};
  const auto complaints = check_schema(schema);
  if (complaints.empty()) {
    EXPECT_THAT(first_problem(schema, 1), HasSubstr(""));  // ends: that is the test
    EXPECT_NE(first_problem(schema, 1), "");
  }
  // A value that is nested as deeply as the schema allows is refused and no crash.
  json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = json::array({std::move(deep)});
  ConfigValue value = ConfigValue::from_json(deep, {});
  std::vector<Diagnostic> problems;
  EXPECT_FALSE(validate(value, json::parse(R"({"items": {"$ref": "#"}})"), "", {}, problems));
  ASSERT_FALSE(problems.empty());
  EXPECT_THAT(problems.front().summary, HasSubstr("nested too deeply"));
}

TEST(Schema, PatternsAreBounded) {
  for (const std::string pattern : {"(a{1000}){1000}", "((((a?){100}){100}){100}){100}", "a{2001}",
                                    "[a-z]{0,99999999999999999999}"})
    EXPECT_THAT(pattern_problem(pattern), HasSubstr("is too large")) << pattern;
  EXPECT_THAT(pattern_problem(std::string(1025, 'a')), HasSubstr("is too large"));
  EXPECT_THAT(pattern_problem(std::string(500, '(') + std::string(500, ')')),
              HasSubstr("is too large"));
  EXPECT_THAT(pattern_problem("^(?=.*a)b"), HasSubstr("assertion"));
  EXPECT_THAT(complaint({{"pattern", "(a{1000}){1000}"}}), HasSubstr("is too large"));
  EXPECT_THAT(complaint({{"patternProperties", {{"(", true}}}}),
              HasSubstr("is not a regular expression"));
  // Quadratic where each place of the text is a beginning of its own.
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(pattern_matches("(a{0,90}b|x|a{0,90}c)$", std::string(kMaxMatchedBytes, 'a')));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  // Anchors and alternatives as before.
  EXPECT_TRUE(pattern_matches("^a|b", "xb"));
  EXPECT_FALSE(pattern_matches("^a", "xa"));
  EXPECT_FALSE(pattern_matches("^(a|b)$", "xb"));
  EXPECT_TRUE(pattern_matches("(^|/)[.]", "a/.b"));
  EXPECT_FALSE(pattern_matches("(^|/)[.]", "a.b"));
}

}  // namespace
}  // namespace hyperhost
