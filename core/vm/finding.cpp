// SPDX-License-Identifier: Apache-2.0
#include "core/vm/finding.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/text.hpp"

namespace hyperhost {
namespace {

constexpr std::size_t kMostText = 4096;

/// A text that a plugin may have read in a guest.
std::string foreign_text(const nlohmann::json& finding, const char* member) {
  const auto found = finding.find(member);
  if (found == finding.end() || !found->is_string()) return {};
  std::string out;
  for (const char c : found->get_ref<const std::string&>())
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
  out.resize(std::min(out.size(), kMostText));
  out.resize(std::min(out.size(), find_invalid_utf8(out)));  // a character that was cut
  return out;
}

}  // namespace

const char* finding_severity_name(Severity severity) {
  return severity == Severity::kInfo ? "note" : severity_name(severity);
}

Diagnostic VmFinding::diagnostic(const std::string& vm) const {
  Diagnostic out;
  out.severity = severity == Severity::kError && accepted ? Severity::kWarning : severity;
  out.code = out.severity == Severity::kError ? Code::kUnsupported : Code::kOk;
  out.path = "vm/" + vm + (disk.empty() ? "" : "/disk/" + disk);
  out.summary = summary;
  out.detail = evidence;
  out.hint = hint;
  out.rule = rule;
  if (out.severity == Severity::kError)
    out.hint += (hint.empty() ? "" : "; ") + std::string("guest: {accept: [") + rule +
                "]} migrates it nevertheless";
  return out;
}

nlohmann::json finding_json(const VmFinding& finding) {
  nlohmann::json out = {{"rule", finding.rule},
                        {"severity", finding_severity_name(finding.severity)},
                        {"summary", finding.summary}};
  const std::pair<const char*, const std::string&> texts[] = {{"disk", finding.disk},
                                                              {"evidence", finding.evidence},
                                                              {"fixable_by", finding.fixable_by},
                                                              {"hint", finding.hint}};
  for (const auto& [name, text] : texts)
    if (!text.empty()) out[name] = text;
  if (finding.accepted) out["accepted"] = true;
  return out;
}

VmFinding finding_from(const nlohmann::json& finding) {
  VmFinding out;
  out.rule = foreign_text(finding, "rule");
  const std::string severity = foreign_text(finding, "severity");
  out.severity = severity == "error"     ? Severity::kError
                 : severity == "warning" ? Severity::kWarning
                                         : Severity::kInfo;
  out.summary = foreign_text(finding, "summary");
  out.disk = foreign_text(finding, "disk");
  out.evidence = foreign_text(finding, "evidence");
  out.fixable_by = foreign_text(finding, "fixable_by");
  out.hint = foreign_text(finding, "hint");
  return out;
}

}  // namespace hyperhost
