// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/memory_limit.hpp"

#include <algorithm>
#include <map>

namespace hyperhost {
namespace {

std::string exact_text(uint64_t bytes) {
  constexpr uint64_t kMib = 1u << 20;
  return bytes % kMib == 0 ? std::to_string(bytes / kMib) + " MiB"
                           : std::to_string(bytes) + " bytes";
}

uint64_t value_of(const PluginChoice& choice, const MemoryOption& option) {
  const auto found = choice.options.value().find(option.name);
  return found != choice.options.value().end() && found->is_number_integer()
             ? static_cast<uint64_t>(std::max<int64_t>(found->get<int64_t>(), 0))
             : 0;
}

Diagnostic about_limit(const Plan& plan, Severity severity, std::string summary, std::string hint) {
  Diagnostic out;
  out.severity = severity;
  out.code = severity == Severity::kError ? Code::kConfig : Code::kOk;
  out.path = "/batch/memory_limit";
  if (const ConfigValue* batch = plan.document.find("batch"))
    if (const ConfigValue* limit = batch->find("memory_limit")) out.where = limit->mark().where();
  out.summary = std::move(summary);
  out.hint = std::move(hint);
  return out;
}

}  // namespace

std::optional<MemoryOption> memory_option(const PluginRegistry& registry,
                                          const std::string& plugin) {
  const PluginFile* file = registry.find(plugin);
  if (file == nullptr || !file->manifest.contains("options")) return std::nullopt;
  const nlohmann::json known =
      file->manifest["options"].value("properties", nlohmann::json::object());
  for (const auto& [name, option] : known.items())
    if (option.is_object() && option.contains("x-hyper-memory"))
      return MemoryOption{name, option.value("x-hyper-memory", uint64_t{0})};
  return std::nullopt;
}

std::vector<Diagnostic> share_memory(const Plan& plan, const PluginRegistry& registry,
                                     std::vector<MigrationConfig>& migrations) {
  const uint64_t limit = plan.batch.memory_limit;
  if (limit == 0) return {};
  struct Open {
    std::string plugin;
    MemoryOption option;
  };
  std::map<std::string, Open> open;  // by the key of their instance
  std::map<std::string, uint64_t> given;
  for (const MigrationConfig& config : migrations) {
    if (!config.enable_conversion) continue;
    const auto option = memory_option(registry, config.converter.plugin);
    if (!option) continue;
    if (const uint64_t own = value_of(config.converter, *option); own != 0)
      given[config.converter.key()] = own;
    else
      open[config.converter.key()] = {config.converter.plugin, *option};
  }
  if (open.empty() && given.empty())
    return {
        about_limit(plan, Severity::kWarning,
                    "memory_limit bounds nothing: no converter of this plan has an option for how "
                    "much memory to take",
                    "use parallel-disk, or leave memory_limit out")};
  uint64_t left = limit;
  for (const auto& [key, bytes] : given) {
    if (bytes > left)
      return {about_limit(plan, Severity::kError,
                          "the converters' own options take more memory than the " +
                              exact_text(limit) + " of memory_limit",
                          "raise it, or leave their memory open: then they share the limit")};
    left -= bytes;
  }
  if (open.empty()) return {};
  const uint64_t share = left / open.size();
  const auto largest = std::max_element(open.begin(), open.end(), [](const auto& a, const auto& b) {
    return a.second.option.least < b.second.option.least;
  });
  const auto& [plugin, option] = largest->second;
  if (share < std::max<uint64_t>(option.least, 1)) {
    const std::string several =
        " for each of " + std::to_string(open.size()) + " configurations of converters";
    return {
        about_limit(plan, Severity::kError,
                    "memory_limit leaves " + exact_text(share) + (open.size() == 1 ? "" : several) +
                        ", and '" + plugin + "' needs at least " + exact_text(option.least),
                    "set it to at least " + exact_text(limit - left + option.least * open.size()) +
                        (open.size() == 1 ? ""
                                          : ", or give the migrations the same converter and "
                                            "options: then they share"))};
  }
  for (MigrationConfig& config : migrations) {
    const auto found = open.find(config.converter.key());
    if (found == open.end()) continue;
    nlohmann::json options = config.converter.options.value();
    options[found->second.option.name] = share;
    config.converter.options = Options(std::move(options));
  }
  return {};
}

}  // namespace hyperhost
