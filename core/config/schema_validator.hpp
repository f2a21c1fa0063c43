// SPDX-License-Identifier: Apache-2.0
// One pass of a value through a schema: the inside of validate() (schema.hpp). The rules for single
// values are in schema_scalars.cpp, for lists and mappings in schema_containers.cpp, for schemas
// within schemas in schema_branches.cpp. Used by one call on one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/config/schema.hpp"

namespace hyperhost {

class SchemaValidator {
 public:
  /// What one validate() may cost, whatever the schema: a plugin's schema is from outside.
  struct Budget {
    size_t steps = 2'000'000;
    int depth = 0;
  };

  SchemaValidator(const nlohmann::json& root, const SchemaContext& context, Budget& budget,
                  std::vector<Diagnostic>& problems)
      : root_(root), context_(context), budget_(budget), problems_(problems) {}

  void node(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);

 private:
  void add(const Mark& mark, const std::string& pointer, std::string summary,
           std::string hint = {});
  bool affordable(const ConfigValue& value, const std::string& pointer);
  const nlohmann::json& resolve(const nlohmann::json& target) const;
  void rules(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);

  // schema_scalars.cpp
  void secret(ConfigValue& value, const std::string& pointer);
  bool type(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  bool units(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void constants(const ConfigValue& value, const nlohmann::json& schema,
                 const std::string& pointer);
  void text(const ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void number(const ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);

  // schema_containers.cpp
  void list(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void contained(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void object(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void size_of(const ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void members(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);
  void missing(const ConfigValue& value, const std::string& key, const nlohmann::json& properties,
               const std::string& pointer);
  void unknown_key(const ConfigValue& value, size_t index, const nlohmann::json& properties,
                   const std::string& path);
  const nlohmann::json* default_of(const nlohmann::json& property) const;

  // schema_branches.cpp
  /// Whether the value fits `schema`; `fitted` becomes what validation made of it.
  bool fits(const ConfigValue& value, const nlohmann::json& schema, const std::string& pointer,
            ConfigValue* fitted = nullptr, std::vector<Diagnostic>* problems = nullptr);
  bool takes_kind(const ConfigValue& value, const nlohmann::json& branch) const;
  std::string alternatives(const nlohmann::json& list) const;
  void all_of(ConfigValue& value, const nlohmann::json& list, const std::string& pointer);
  void one_of(ConfigValue& value, const nlohmann::json& list, bool exactly_one,
              const std::string& pointer);
  void conditions(ConfigValue& value, const nlohmann::json& schema, const std::string& pointer);

  const nlohmann::json& root_;
  const SchemaContext& context_;
  Budget& budget_;
  std::vector<Diagnostic>& problems_;
};

// What the three files share.
namespace schema_rules {

inline constexpr size_t kMaxProblems = 100;
inline constexpr int kMaxReferences = 32;  ///< $ref to $ref; check_schema() refuses longer chains

bool flag(const nlohmann::json& schema, const char* key);
bool kind_fits(const ConfigValue& value, const std::string& type);
const char* type_name(const std::string& type);
std::vector<std::string> types_of(const nlohmann::json& schema);
/// As JSON Schema compares: 1 is 1.0.
bool equal(const ConfigValue& value, const nlohmann::json& wanted);
/// The schema that a local reference ("#", "#/$defs/name") names, or null.
const nlohmann::json* referenced(const nlohmann::json& root, const std::string& reference);

}  // namespace schema_rules
}  // namespace hyperhost
