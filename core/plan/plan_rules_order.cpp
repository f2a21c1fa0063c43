// SPDX-License-Identifier: Apache-2.0
// The rules of when a migration may begin: start windows, and dependencies without cycles.
#include <algorithm>
#include <map>

#include "core/base/near_miss.hpp"
#include "core/plan/plan_rules.hpp"

namespace hyperhost::plan_rules {
namespace {

void check_window(const ConfigValue& document, size_t index, Findings& findings) {
  const Setting from = setting(document, index, "not_before");
  const Setting until = setting(document, index, "not_after");
  std::string why;
  const auto text = [](const Setting& one) {
    return one.string() != nullptr ? *one.string() : std::string();
  };
  if (StartWindow::parse(text(from), text(until), why)) return;
  const Setting& at = until.value != nullptr ? until : from;
  findings.error(at.value->mark(), at.pointer, why);
}

/// Depth first; `path` leads to `index`. Says the first cycle through each entry once.
class Cycles {
 public:
  Cycles(const Plan& plan, const std::map<std::string, size_t>& by_id, Findings& findings)
      : plan_(plan), by_id_(by_id), findings_(findings), seen_(plan.migrations.size(), 0) {}

  void visit(size_t index) {
    // Without recursion: a chain of dependencies may be as long as the plan.
    struct Step {
      size_t index, next;
    };
    if (seen_[index] != 0) return;
    std::vector<Step> path{{index, 0}};
    seen_[index] = kOnPath;
    while (!path.empty()) {
      Step& step = path.back();
      const MigrationSpec& spec = plan_.migrations[step.index];
      if (step.next == spec.depends_on.size()) {
        seen_[step.index] = kDone;
        path.pop_back();
        continue;
      }
      const auto found = by_id_.find(spec.depends_on[step.next++]);
      if (found == by_id_.end() || seen_[found->second] == kDone) continue;
      if (seen_[found->second] == kOnPath) {
        std::string circle;
        bool in = false;
        for (const Step& one : path) {
          in = in || one.index == found->second;
          if (in) circle += "'" + plan_.migrations[one.index].plan_id + "' needs ";
        }
        findings_.error(spec.mark, spec.pointer + "/depends_on",
                        circle + "'" + plan_.migrations[found->second].plan_id +
                            "': none of them could ever begin");
        continue;
      }
      seen_[found->second] = kOnPath;
      path.push_back({found->second, 0});
    }
  }

 private:
  static constexpr char kOnPath = 1, kDone = 2;
  const Plan& plan_;
  const std::map<std::string, size_t>& by_id_;
  Findings& findings_;
  std::vector<char> seen_;
};

}  // namespace

void check_order(const ConfigValue& document, const Plan& plan, Findings& findings) {
  std::map<std::string, size_t> by_id;
  std::vector<std::string> ids;
  for (size_t i = 0; i < plan.migrations.size(); ++i) {
    by_id.emplace(plan.migrations[i].plan_id, i);
    ids.push_back(plan.migrations[i].plan_id);
  }
  for (size_t i = 0; i < plan.migrations.size(); ++i) {
    if ((*document.find("migrations")->sequence())[i].members() == nullptr) continue;
    check_window(document, i, findings);
    const MigrationSpec& spec = plan.migrations[i];
    for (size_t n = 0; n < spec.depends_on.size(); ++n)
      if (!by_id.contains(spec.depends_on[n]))
        findings.error(spec.mark, pointer_join(spec.pointer + "/depends_on", n),
                       "there is no migration with the id '" + spec.depends_on[n] + "'",
                       suggest(spec.depends_on[n], ids));
  }
  Cycles cycles(plan, by_id, findings);
  for (size_t i = 0; i < plan.migrations.size(); ++i) cycles.visit(i);
}

}  // namespace hyperhost::plan_rules
