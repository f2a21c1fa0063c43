// SPDX-License-Identifier: Apache-2.0
// One engine for the plan and for plugins' options: validates a ConfigValue against a JSON Schema
// (a subset of draft 2020-12) and completes it. Every problem is a Diagnostic with the place and
// the JSON Pointer. Stateless: any thread.
//
// Keywords: type enum const $ref(#/…) anyOf oneOf · properties required additionalProperties
// minProperties maxProperties · items minItems maxItems uniqueItems · pattern minLength maxLength ·
// minimum maximum exclusiveMinimum exclusiveMaximum · default · annotations (title, description,
// examples, deprecated, $comment, $schema, $id, $defs). Own marks, which others ignore:
//   x-hyper-secret: true    only {env: NAME} or {file: PATH}; a text in the plan is refused
//   x-hyper-duration: true  "5s"     becomes an integer, nanoseconds
//   x-hyper-size: true      "64KiB"  becomes an integer, bytes; minimum and maximum hold for it
//   x-hyper-path: true      a relative path becomes absolute (against SchemaContext::base_dir)
//   x-hyper-form: TEXT      the hint where `pattern` does not match
//   x-hyper-per-vm: true    a provider's option that a migration may set for its own VM
//   x-hyper-memory: N       a converter's option that takes its share of batch.memory_limit
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
