// SPDX-License-Identifier: Apache-2.0
// One engine for the plan, for plugins' options and for the documents of the ABI: validates a
// ConfigValue against a JSON Schema (a subset of draft 2020-12) and completes it. Every problem is
// a Diagnostic with the place and the JSON Pointer. Stateless: any thread.
//
// No library does this: those of Debian 12 (valijson) and nlohmann's validator stop at draft 7,
// report no place in the YAML, turn no unit into a number and keep secrets in the value. What
// remained of this engine around one of them would be larger than the rules it replaces. The
// keywords are checked by Debian's json-schema-test-suite (tests/unit/schema_suite_test.cpp).
//
// Keywords: type enum const $ref(# and #/…) allOf anyOf oneOf not if then else · properties
// patternProperties additionalProperties propertyNames required dependentRequired dependentSchemas
// minProperties maxProperties · prefixItems items contains minContains maxContains minItems
// maxItems uniqueItems · pattern format minLength maxLength · minimum maximum exclusiveMinimum
// exclusiveMaximum multipleOf · default · annotations (title, description, examples, deprecated,
// $comment, $schema, $id, $defs). Own marks, which others ignore:
//   x-hyper-secret: true    only {env: NAME} or {file: PATH}; a text in the plan is refused
//   x-hyper-duration: true  "5s"     becomes an integer, nanoseconds
//   x-hyper-size: true      "64KiB"  becomes an integer, bytes; minimum and maximum hold for it
//   x-hyper-path: true      a relative path becomes absolute (against SchemaContext::base_dir)
//   x-hyper-form: TEXT      the hint where `pattern` does not match
//   x-hyper-per-vm: true    a provider's option that a migration may set for its own VM
//   x-hyper-memory: N       a converter's option that takes its share of batch.memory_limit
//
// A schema may come from a stranger. check_schema() refuses what is too large, nested too deeply
// or refers to itself without an end, remote references, and patterns that would need more than
// kMaxPatternStates states (pattern.hpp); validate() stops after two million steps.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/config/config_value.hpp"

namespace hyperhost {

struct SchemaContext {
  /// {env: NAME} and {file: PATH} may stand for any string, secret or not.
  bool references_for_text = true;
  std::filesystem::path base_dir;  ///< of relative paths; empty leaves them as they are
};

/// Appends what is wrong to `problems`, at most 100 of them, and returns whether that was nothing.
/// `value` gets defaults, resolved units, paths and references wherever it is right.
/// `pointer` is where `value` is in its document; it begins each diagnostic's path.
/// REQUIRES: check_schema(schema) has nothing to say.
bool validate(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer,
              const SchemaContext& context, std::vector<Diagnostic>& problems);

/// The same for a part of a schema; its references are looked up in `root`.
bool validate_part(ConfigValue& value, const nlohmann::json& root, const nlohmann::json& schema,
                   const std::string& pointer, const SchemaContext& context,
                   std::vector<Diagnostic>& problems);

/// What of `schema` the engine does not understand, one sentence each: unknown keywords, bad
/// $ref, bad patterns, defaults of the wrong type.
std::vector<std::string> check_schema(const nlohmann::json& schema);

struct OptionsResult {
  ConfigValue options;  ///< complete; references to secrets unresolved (see secret.hpp)
  std::vector<Diagnostic> diagnostics;
  bool ok = false;
};

/// A plugin's options against the schema in its manifest. A schema that the engine does not
/// understand is one diagnostic which blames the plugin.
OptionsResult validate_options(const ConfigValue& options, const nlohmann::json& schema,
                               const std::string& pointer, const SchemaContext& context);

}  // namespace hyperhost
