// SPDX-License-Identifier: Apache-2.0
// A value from a plan: JSON's kinds, plus where each was written, plus references to secrets.
// What the plan, --set and plugins' options are made of before anyone reads them as fields.
// A plain value: any thread may own one; const access from several threads is safe.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hyperhost {

/// Where a value was written. line and column count from 1; 0 = not known.
struct Mark {
  std::shared_ptr<const std::string> source;  ///< "plan.yaml", "--set a.b"; may be null
  uint32_t line = 0;
  uint32_t column = 0;

  /// "plan.yaml:3:5", "--set a.b"; empty where nothing is known.
  std::string where() const;
};

/// Stands for a text that is not in the plan: {env: NAME} or {file: PATH}. Never the secret.
struct SecretReference {
  enum class Source { kEnvironment, kFile };
  Source source = Source::kEnvironment;
  std::string name;  ///< the variable, or the path
};

class ConfigValue {
 public:
  enum class Kind { kNull, kBoolean, kInteger, kNumber, kString, kSequence, kMapping, kReference };
  struct Member;
  using Sequence = std::vector<ConfigValue>;
  using Mapping = std::vector<Member>;  ///< in the order written; keys are unique
  using Data = std::variant<std::monostate, bool, int64_t, double, std::string, Sequence, Mapping,
                            SecretReference>;  ///< in the order of Kind

  ConfigValue() = default;
  explicit ConfigValue(Data data, Mark mark = {});
  static ConfigValue mapping(Mark mark = {});
  /// Every node gets `mark` and counts as implied(). Numbers beyond int64 become kNumber.
  static ConfigValue from_json(const nlohmann::json& json, const Mark& mark);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  /// "a string", "a mapping" …
  static const char* kind_name(Kind kind);
  bool is(Kind wanted) const { return kind() == wanted; }

  const Mark& mark() const { return mark_; }
  /// Came from a schema's default, not from the plan's text.
  bool implied() const { return implied_; }

  // The value where it is of that kind, else null.
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* number() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const Sequence* sequence() const { return std::get_if<Sequence>(&data_); }
  Sequence* sequence() { return std::get_if<Sequence>(&data_); }
  const Mapping* members() const { return std::get_if<Mapping>(&data_); }
  Mapping* members() { return std::get_if<Mapping>(&data_); }
  const SecretReference* reference() const { return std::get_if<SecretReference>(&data_); }

  /// The member's value, or null: no such key, or not a mapping.
  const ConfigValue* find(std::string_view key) const;
  ConfigValue* find(std::string_view key);
  /// Adds or replaces a member. REQUIRES: a mapping.
  void set(std::string key, ConfigValue value, Mark key_mark = {});
  void erase(std::string_view key);
  /// Another value in the same place: mark and implied() stay.
  void assign(Data data);
  /// Gives the value and all in it the same mark.
  void mark_all(const Mark& mark);

  /// A reference becomes {"env": NAME} or {"file": PATH}: safe to print.
  nlohmann::json to_json() const;

 private:
  Data data_;
  Mark mark_;
  bool implied_ = false;
};

struct ConfigValue::Member {
  std::string key;
  Mark key_mark;
  ConfigValue value;
};

/// "/a/b" + "c/d" → "/a/b/c~1d" (RFC 6901).
std::string pointer_join(std::string_view pointer, std::string_view key);
std::string pointer_join(std::string_view pointer, size_t index);

}  // namespace hyperhost
