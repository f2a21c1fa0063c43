// SPDX-License-Identifier: Apache-2.0
// What a schema cannot say about a plan: references between its parts and impossible
// combinations. Internal to core/plan; stateless: any thread.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/plan/plan.hpp"

namespace hyperhost::plan_rules {

/// Collects problems; what many migrations inherit from one place is said once.
class Findings {
 public:
  explicit Findings(std::vector<Diagnostic>& problems) : problems_(problems) {}
  void error(const Mark& mark, std::string path, std::string summary, std::string hint = {});
  void warning(const Mark& mark, std::string path, std::string summary, std::string hint = {});

 private:
  void add(Severity severity, const Mark& mark, std::string path, std::string summary,
           std::string hint);

  std::vector<Diagnostic>& problems_;
  std::set<std::string> said_;
};

/// A setting a migration ends up with, and where it was written.
struct Setting {
  const ConfigValue* value = nullptr;  ///< null: not set
  std::string pointer;
  bool own = false;  ///< written in the migration itself, not in the defaults

  const std::string* string() const { return value != nullptr ? value->string() : nullptr; }
  const int64_t* integer() const { return value != nullptr ? value->integer() : nullptr; }
  bool is(bool wanted) const {
    return value != nullptr && value->boolean() != nullptr && *value->boolean() == wanted;
  }
};

/// `name` of the migration, else of the defaults. Two belong to another and are not inherited
/// without it: compression_level to compression, cluster_size to target_format qcow2. A default
/// compression is not inherited by a migration whose own target_format cannot have it.
Setting setting(const ConfigValue& document, size_t index, const std::string& name);

/// All rules. `document` is completed by the schema but may still be wrong in places; rules skip
/// what is. `plan` is what was read of it.
void check(const ConfigValue& document, const Plan& plan, std::vector<Diagnostic>& problems);

// The rooms of check().
void check_settings(const ConfigValue& document, const Plan& plan, Findings& findings);
void check_order(const ConfigValue& document, const Plan& plan, Findings& findings);
void check_uploads(const ConfigValue& document, const Plan& plan, Findings& findings);
void check_webhooks(const ConfigValue& section, const std::vector<WebhookSpec>& specs,
                    Findings& findings);
void check_observability(const ConfigValue& document, const Plan& plan, Findings& findings);

}  // namespace hyperhost::plan_rules
