// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan_rules.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/near_miss.hpp"

namespace hyperhost::plan_rules {

void Findings::add(Severity severity, const Mark& mark, std::string path, std::string summary,
                   std::string hint) {
  Diagnostic diagnostic;
  diagnostic.severity = severity;
  diagnostic.code = Code::kConfig;
  diagnostic.where = mark.where();
  diagnostic.path = std::move(path);
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  constexpr size_t kEnough = 100;
  if (said_.size() < kEnough && said_.insert(to_string(diagnostic)).second) {
    problems_.push_back(std::move(diagnostic));
  }
}

void Findings::error(const Mark& mark, std::string path, std::string summary, std::string hint) {
  add(Severity::kError, mark, std::move(path), std::move(summary), std::move(hint));
}

void Findings::warning(const Mark& mark, std::string path, std::string summary, std::string hint) {
  add(Severity::kWarning, mark, std::move(path), std::move(summary), std::move(hint));
}

namespace {

/// Of the formats that are known here. What another one can do, its converter says.
bool compresses(const std::string& format, const std::string& kind) {
  static const std::set<std::string> known{"qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi"};
  return kind == "none" || format == "qcow2" || (format == "vmdk" && kind == "zlib") ||
         !known.contains(format);
}

/// A default that the migration's own format makes impossible gives way.
bool gives_way(const ConfigValue& document, size_t index, const Setting& compression) {
  if (compression.own || compression.string() == nullptr) return false;
  const Setting format = setting(document, index, "target_format");
  return format.own && format.string() != nullptr &&
         !compresses(*format.string(), *compression.string());
}

}  // namespace

Setting setting(const ConfigValue& document, size_t index, const std::string& name) {
  const ConfigValue& own = (*document.find("migrations")->sequence())[index];
  if (const ConfigValue* value = own.find(name)) {
    return {value, pointer_join(pointer_join("/migrations", index), name), true};
  }
  if (name == "compression_level" && own.find("compression") != nullptr) return {};
  if (name == "cluster_size") {
    const Setting format = setting(document, index, "target_format");
    if (format.string() == nullptr || *format.string() != "qcow2") return {};
  }
  const ConfigValue* defaults = document.find("defaults");
  const ConfigValue* value = defaults != nullptr ? defaults->find(name) : nullptr;
  Setting found{value, pointer_join("/defaults", name), false};
  if (name == "compression" && gives_way(document, index, found)) return {};
  if (name == "compression_level" && setting(document, index, "compression").value == nullptr)
    return {};
  return found;
}

namespace {

/// Where to point for a clash of two settings: the one the migration itself has written.
const Setting& nearer(const Setting& a, const Setting& b) {
  return b.own && !a.own ? b : a;
}

/// What stands beside a list of plugins would be of none of them.
void check_guest(const ConfigValue& document, size_t index, Findings& findings) {
  const Setting guest = setting(document, index, "guest");
  const ConfigValue* plugin = guest.value != nullptr ? guest.value->find("plugin") : nullptr;
  if (plugin == nullptr || plugin->sequence() == nullptr) return;
  for (const char* key : {"isolation", "options"}) {
    const ConfigValue* value = guest.value->find(key);
    if (value == nullptr || (value->members() != nullptr && value->members()->empty())) continue;
    findings.error(value->mark(), pointer_join(guest.pointer, key),
                   std::string(key) + " has no meaning beside a list of plugins",
                   "write it in the list: [{plugin: NAME, " + std::string(key) + ": …}]");
  }
}

void check_compression(const ConfigValue& document, size_t index, Findings& findings) {
  const Setting format = setting(document, index, "target_format");
  const Setting compression = setting(document, index, "compression");
  const Setting level = setting(document, index, "compression_level");
  const Setting cluster = setting(document, index, "cluster_size");
  if (format.string() == nullptr) return;
  const std::string& target = *format.string();
  const std::string kind = compression.string() != nullptr ? *compression.string() : "none";
  if (!compresses(target, kind)) {
    const Setting& at = nearer(compression, format);
    findings.error(
        at.value->mark(), at.pointer,
        "compression '" + kind + "' is not possible with target_format '" + target + "'",
        target == "vmdk" ? "vmdk has zlib only" : "set compression: none, or target_format: qcow2");
  }
  if (level.integer() != nullptr) {
    const int64_t highest = kind == "zlib" ? 9 : kind == "zstd" ? 22 : 0;
    if (highest == 0) {
      findings.error(level.value->mark(), level.pointer,
                     "compression_level has no meaning with compression '" + kind + "'",
                     "set compression: zlib or zstd, or leave the level out");
    } else if (*level.integer() > highest && kind == "zlib") {  // zstd's limit is the schema's
      findings.error(level.value->mark(), level.pointer, "zlib has levels 1 to 9");
    }
  }
  if (cluster.integer() == nullptr) return;
  const int64_t size = *cluster.integer();
  if (target != "qcow2") {
    findings.error(cluster.value->mark(), cluster.pointer,
                   "cluster_size has no meaning with target_format '" + target + "'",
                   "only qcow2 has clusters");
  } else if (size < 512 || size > 2 * 1024 * 1024 || (size & (size - 1)) != 0) {
    findings.error(cluster.value->mark(), cluster.pointer,
                   "cluster_size must be a power of two from 512 to 2MiB", "64KiB is usual");
  }
}

void check_names(const Plan& plan, const MigrationSpec& spec, const ConfigValue& own,
                 Findings& findings) {
  const ConfigValue* provider = own.find("provider");
  if (provider != nullptr && provider->string() != nullptr &&
      !plan.providers.contains(spec.provider)) {
    std::vector<std::string> known;
    for (const auto& [name, unused] : plan.providers) known.push_back(name);
    findings.error(provider->mark(), pointer_join(spec.pointer, "provider"),
                   "no provider '" + spec.provider + "' is defined under providers",
                   suggest(spec.provider, known));
  }
  const ConfigValue* name = own.find("output_name");
  if (name != nullptr && spec.vm_is_pattern) {
    findings.error(
        name->mark(), pointer_join(spec.pointer, "output_name"),
        "output_name cannot serve the several VMs that '" + spec.vm_name + "' may match");
  }
  if (const ConfigValue* list = own.find("exclude"); list != nullptr && !spec.vm_is_pattern)
    findings.error(list->mark(), pointer_join(spec.pointer, "exclude"),
                   "exclude needs a pattern in vm: '" + spec.vm_name + "' is one VM");
  const ConfigValue* exclude =
      own.find("disks") != nullptr ? own.find("disks")->find("exclude") : nullptr;
  if (exclude != nullptr && !spec.disks.include.empty()) {
    findings.error(exclude->mark(), spec.pointer + "/disks/exclude",
                   "include and exclude together leave open what is meant", "keep one of them");
  }
}

void check_parallel(const ConfigValue& holder, const std::string& pointer, Findings& findings) {
  const ConfigValue* parallel = holder.find("parallel_disks");
  const ConfigValue* most = holder.find("max_parallel_disks");
  if (parallel == nullptr || parallel->boolean() == nullptr || *parallel->boolean()) return;
  if (most == nullptr || most->implied() || most->integer() == nullptr || *most->integer() <= 1)
    return;
  findings.error(most->mark(), pointer_join(pointer, "max_parallel_disks"),
                 "max_parallel_disks contradicts parallel_disks: false beside it",
                 "keep one of them");
}

/// Ids, and VMs that would be written to the same place.
void check_duplicates(const Plan& plan, const ConfigValue::Sequence& written, Findings& findings) {
  std::map<std::string, const MigrationSpec*> by_target, by_id;
  for (size_t i = 0; i < plan.migrations.size(); ++i) {
    const MigrationSpec& spec = plan.migrations[i];
    if (spec.vm_name.empty() || spec.provider.empty()) continue;
    // A path names a VM by its last part; a pattern is only compared with itself.
    const std::string name = spec.vm_name.substr(spec.vm_name.rfind('/') + 1);
    const std::string target =
        spec.vm_is_pattern ? spec.output_dir.string() + "/" + spec.provider + ":" + spec.vm_name
                           : spec.vm_directory(name).lexically_normal().string();
    const auto [other, fresh] = by_target.emplace(target, &spec);
    if (!fresh) {
      const MigrationSpec& first = *other->second;
      const std::string line =
          first.mark.line != 0 ? "line " + std::to_string(first.mark.line) : first.mark.where();
      const bool twice = first.vm_name == spec.vm_name && first.provider == spec.provider;
      findings.error(
          spec.mark, spec.pointer,
          twice ? "'" + spec.vm_name + "' of provider '" + spec.provider + "' is in the plan twice"
                : "'" + spec.vm_name + "' and '" + first.vm_name +
                      "' would be written to the same directory, " + target,
          "the other is at " + line + (twice ? "" : "; give one of them an output_name"));
      continue;
    }
    const auto [same, unique] = by_id.emplace(spec.plan_id, &spec);
    if (!unique) {
      const ConfigValue* id = written[i].find("id");
      const std::string line = std::to_string(same->second->mark.line);
      findings.error(id != nullptr ? id->mark() : spec.mark, pointer_join(spec.pointer, "id"),
                     "the id '" + spec.plan_id + "' is given to two migrations",
                     "the other is at line " + line + "; give each an id of its own");
    }
  }
}

}  // namespace

void check_settings(const ConfigValue& document, const Plan& plan, Findings& findings) {
  if (const ConfigValue* defaults = document.find("defaults"))
    check_parallel(*defaults, "/defaults", findings);
  if (const ConfigValue* batch = document.find("batch")) {
    const ConfigValue* longest = batch->find("max_retry_delay");
    if (longest != nullptr && !longest->implied() &&
        plan.batch.max_retry_delay < plan.batch.retry_delay) {
      findings.error(longest->mark(), "/batch/max_retry_delay",
                     "max_retry_delay is shorter than retry_delay");
    }
  }
  const ConfigValue* migrations = document.find("migrations");
  if (migrations == nullptr || migrations->sequence() == nullptr) return;
  const ConfigValue::Sequence& written = *migrations->sequence();
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i].members() == nullptr) continue;
    check_names(plan, plan.migrations[i], written[i], findings);
    check_compression(document, i, findings);
    check_guest(document, i, findings);
    check_parallel(written[i], plan.migrations[i].pointer, findings);
    const ConfigValue* tags = written[i].find("tags");
    if (tags != nullptr && setting(document, i, "export_manifest").is(false)) {
      findings.error(tags->mark(), pointer_join(plan.migrations[i].pointer, "tags"),
                     "tags go into the manifest, which export_manifest: false leaves out",
                     "drop one of them");
    }
  }
  check_duplicates(plan, written, findings);
  check_order(document, plan, findings);
}

void check(const ConfigValue& document, const Plan& plan, std::vector<Diagnostic>& problems) {
  Findings findings(problems);
  check_settings(document, plan, findings);
  check_uploads(document, plan, findings);
  check_observability(document, plan, findings);
}

}  // namespace hyperhost::plan_rules
