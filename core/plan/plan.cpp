// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/base/file_name.hpp"
#include "core/config/override.hpp"
#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/plan/host_config.hpp"
#include "core/plan/plan_read.hpp"
#include "core/plan/plan_rules.hpp"

namespace hyperhost {
namespace {

std::string login_name() {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) {
    return entry.pw_name;
  }
  return "uid " + std::to_string(::geteuid());
}

/// Line and column from "file:line:column"; 0, 0 where there are none.
std::pair<int, int> position(const std::string& where) {
  int line = 0, column = 0;
  const size_t second = where.rfind(':');
  if (second == std::string::npos || second == 0) return {0, 0};
  const size_t first = where.rfind(':', second - 1);
  if (first == std::string::npos) return {0, 0};
  std::from_chars(where.data() + first + 1, where.data() + second, line);
  std::from_chars(where.data() + second + 1, where.data() + where.size(), column);
  return {line, column};
}

PlanResult failed(std::string where, Code code, std::string summary, std::string hint = {}) {
  Diagnostic diagnostic;
  diagnostic.code = code;
  diagnostic.where = std::move(where);
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  return {nullptr, {std::move(diagnostic)}, nullptr};
}

PlanResult finish(std::shared_ptr<const Plan> plan, std::vector<Diagnostic> problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return position(a.where) < position(b.where);
  });
  const bool broken = std::any_of(problems.begin(), problems.end(), [](const Diagnostic& one) {
    return one.severity == Severity::kError;
  });
  return broken ? PlanResult{nullptr, std::move(problems), std::move(plan)}
                : PlanResult{std::move(plan), std::move(problems), nullptr};
}

/// As if the plan took all VMs of its first provider.
void ask_for_all(ConfigValue& document) {
  const ConfigValue* providers = document.find("providers");
  if (providers == nullptr || providers->members() == nullptr || providers->members()->empty())
    return;  // the schema says what is missing
  const nlohmann::json all = {{"vm", "*"}, {"provider", providers->members()->front().key}};
  document.set("migrations", ConfigValue::from_json(nlohmann::json::array({all}), {}));
  if (document.find("output_dir") == nullptr)
    document.set("output_dir", ConfigValue(std::string(".")));
}

}  // namespace

const char* compression_name(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kZlib:
      return "zlib";
    case Compression::kZstd:
      return "zstd";
    case Compression::kKeep:
      return "keep";
  }
  return "none";
}

const char* verify_name(Verify verify) {
  switch (verify) {
    case Verify::kNone:
      return "none";
    case Verify::kTarget:
      return "target";
    case Verify::kIndependent:
      return "independent";
    case Verify::kSource:
      return "source";
  }
  return "none";
}

const char* boot_grade_name(BootGrade grade) {
  switch (grade) {
    case BootGrade::kLoader:
      return "loader";
    case BootGrade::kKernel:
      return "kernel";
    case BootGrade::kLogin:
      return "login";
    case BootGrade::kAgent:
      return "agent";
    case BootGrade::kTraces:
      return "traces";
  }
  return "login";
}

const char* durability_name(Durability durability) {
  return durability == Durability::kNone ? "none" : "file";
}

bool DiskSelection::selects(std::string_view disk_id) const {
  if (!include.empty()) return std::find(include.begin(), include.end(), disk_id) != include.end();
  return std::find(exclude.begin(), exclude.end(), disk_id) == exclude.end();
}

std::string MigrationSpec::file_stem(std::string_view name) const {
  return safe_file_name(output_name.empty() ? name : std::string_view(output_name));
}

std::filesystem::path MigrationSpec::vm_directory(std::string_view name) const {
  return output_dir / file_stem(name);
}

const nlohmann::json& plan_schema() {
  static const nlohmann::json schema = nlohmann::json::parse(plan_schema_text());
  return schema;
}

PlanResult parse_plan(std::string_view text, const std::string& source,
                      const PlanOptions& options) {
  std::vector<Diagnostic> problems;
  std::optional<ConfigValue> document = read_yaml(text, source, problems);
  if (!document) return finish(nullptr, std::move(problems));
  if (document->members() != nullptr) {
    for (const PlanFlag& flag : options.flags)
      apply_override(*document, flag.key + "=" + flag.value, problems, flag.flag);
    for (const std::string& argument : options.overrides)
      apply_override(*document, argument, problems);
    apply_host_defaults(*document, options.host_defaults);
    if (options.only_sources) ask_for_all(*document);
  }
  auto plan = std::make_shared<Plan>();
  plan->source = source;
  std::error_code error;
  plan->base_dir =
      std::filesystem::absolute(options.base_dir.empty() ? "." : options.base_dir, error);
  plan->base_dir = plan->base_dir.lexically_normal();
  validate(*document, plan_schema(), "", {false, plan->base_dir}, problems);
  if (document->members() == nullptr) return finish(nullptr, std::move(problems));
  read_plan(*document, *plan);
  plan_rules::check(*document, *plan, problems);
  if (plan->name.empty()) plan->name = std::filesystem::path(source).stem().string();
  if (plan->user.empty()) plan->user = login_name();
  plan->document = std::move(*document);
  return finish(std::move(plan), std::move(problems));
}

PlanResult load_plan(const std::filesystem::path& file, const PlanOptions& options) {
  const std::string name = file.string();
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    return failed(name, Code::kConfig, "this is a directory, not a plan",
                  "name the YAML file in it");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    const Diagnostic cause = errno_error(errno, "the plan cannot be opened").diagnostic();
    return failed(name, cause.code, cause.summary + ": " + cause.detail);
  }
  std::string text(kMaxYamlBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return failed(name, Code::kIo, "the plan cannot be read to its end");
  text.resize(static_cast<size_t>(stream.gcount()));
  PlanOptions placed = options;
  if (placed.base_dir.empty()) placed.base_dir = file.has_parent_path() ? file.parent_path() : ".";
  return parse_plan(text, name, placed);
}

}  // namespace hyperhost
