// SPDX-License-Identifier: Apache-2.0
// hyperhost schema: the plan's JSON Schema for editors, with the options of the plugins that are
// here; and the words that completions offer.
#include <hyper/draft/boot.h>
#include <hyper/draft/guest.h>
#include <hyper/draft/target.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/plan/plan.hpp"
#include "core/plugin/format_catalog.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/watch/audit/audit_record.hpp"
#include "hosts/hyperhost/context.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

/// Where the plan's schema takes a plugin of that kind, and under which of its members the options
/// are; "" = beside its name.
struct Slot {
  const char* iface;
  const char* definition;
  const char* branch;  ///< a pointer below the definition
  const char* options;
};

/// The schema without references, which would count from the plan's schema.
json inlined(const json& root, const json& schema, int depth = 0) {
  constexpr int kDeepest = 16;  // a schema that refers to itself ends in "anything"
  if (depth > kDeepest) return true;
  if (schema.is_array()) {
    json out = json::array();
    for (const json& one : schema) out.push_back(inlined(root, one, depth));
    return out;
  }
  if (!schema.is_object()) return schema;
  json out = json::object();
  if (const auto reference = schema.find("$ref"); reference != schema.end())
    out = inlined(root, root.at(json::json_pointer(reference->get<std::string>().substr(1))),
                  depth + 1);
  for (const auto& [key, value] : schema.items())
    if (key != "$ref" && key != "$defs") out[key] = inlined(root, value, depth);
  return out;
}

/// An option as a plan may write it: a text may be a reference, a secret must be one.
void allow_references(json& option) {
  if (!option.is_object()) return;
  if (option.contains("properties"))
    for (json& one : option["properties"]) allow_references(one);
  if (option.contains("items")) allow_references(option["items"]);
  const json secret = {{"$ref", "#/$defs/secret"}};
  const json description = option.value("description", json());
  if (option.value("x-hyper-secret", false))
    option = secret;
  else if (option.value("type", json()) == "string")
    option = {{"anyOf", {option, secret}}};
  else
    return;
  if (description.is_string()) option["description"] = description;
}

/// "if the plugin is ID, then its options are these".
json with_options(const std::string& id, const json& options, const char* member) {
  json shown = inlined(options, options);
  allow_references(shown);
  for (const char* key : {"$schema", "$id", "required"}) shown.erase(key);  // a default may be set
  if (*member != '\0') {
    shown = {{"properties", {{member, shown}}}};
  } else {
    shown["properties"]["plugin"] = true;
    shown["properties"]["isolation"] = true;
  }
  return {{"if",
           {{"properties", {{"plugin", {{"type", "string"}, {"pattern", "^" + id + "(@.*)?$"}}}}},
            {"required", {"plugin"}}}},
          {"then", shown}};
}

json plan_schema_with(const PluginRegistry& registry) {
  static constexpr Slot kSlots[] = {{HYPER_IFACE_PROVIDER, "provider", "", ""},
                                    {HYPER_IFACE_STORAGE, "storage", "", ""},
                                    {HYPER_IFACE_CONVERTER, "converter", "/anyOf/1", "options"},
                                    {HYPER_IFACE_GUEST, "guest", "/anyOf/1", "options"},
                                    {HYPER_IFACE_GUEST, "guest_plugin", "", "options"},
                                    {HYPER_IFACE_BOOT, "boot", "/anyOf/1", "options"},
                                    {HYPER_IFACE_TARGET, "target", "/anyOf/1", "options"}};
  json schema = plan_schema();
  for (const Slot& slot : kSlots) {
    const auto at = json::json_pointer(std::string("/$defs/") + slot.definition + slot.branch);
    json& holder = schema[at];
    json names = json::array();
    for (const std::string& id : registry.ids_with(slot.iface)) {
      names.push_back(id);
      const json options = registry.find(id)->manifest.value("options", json::object());
      holder["allOf"].push_back(with_options(id, options, slot.options));
    }
    holder["properties"]["plugin"]["examples"] = names;
  }
  return schema;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

void print_plugins(const PluginRegistry& registry, const char* iface) {
  for (const PluginFile& file : registry.files()) {
    if (!file.chosen) continue;
    const auto& offered = file.manifest["interfaces"];
    if (iface != nullptr && std::find(offered.begin(), offered.end(), iface) == offered.end())
      continue;
    std::cout << file.id << "\t" << first_line(file.manifest.value("summary", "")) << "\n";
  }
}

void print_tasks() {
  constexpr std::size_t kRuns = 5, kTasks = 500;
  std::error_code ignored;
  if (!std::filesystem::exists(default_state_dir() / "state.db", ignored)) return;
  const auto state = StateStore::open(default_state_dir());
  std::size_t shown = 0;
  for (const RunRecord& run : state->runs(kRuns))
    for (const TaskRecord& task : state->tasks(run.run_id)) {
      if (++shown > kTasks) return;
      std::cout << task.task_id << "\t" << task.vm_name << ", " << task.status << "\n";
    }
}

/// "value TAB description" lines. A completion that cannot be had is no error to show.
int complete(Context& context, const std::string& kind) {
  try {
    if (kind == "tasks") print_tasks();
    if (kind == "audit-types")
      for (const std::string& type : audit_event_types()) std::cout << type << "\t\n";
    if (kind == "plugins") print_plugins(context.registry(), nullptr);
    if (kind == "providers") print_plugins(context.registry(), HYPER_IFACE_PROVIDER);
    if (kind == "converters") print_plugins(context.registry(), HYPER_IFACE_CONVERTER);
    if (kind == "readers") print_plugins(context.registry(), HYPER_IFACE_IMAGE);
    if (kind == "formats") {
      const FormatCatalog catalog(context.registry());
      for (const std::string& format : catalog.targets())
        std::cout << format << "\t*" << catalog.extension(format) << "\n";
    }
  } catch (const Error&) {
    return kExitFailed;
  }
  return kExitOk;
}

}  // namespace

void add_schema_commands(CLI::App& app, Context& context, int& status) {
  CLI::App* schema = app.add_subcommand(
      "schema", "Print the plan's JSON Schema, with the options of the plugins that are here");
  schema->footer(
      "Editors that read YAML complete and check a plan by it: name its file in the plan's first\n"
      "line, # yaml-language-server: $schema=FILE\n\n"
      "Example:\n  hyperhost schema > plan.schema.json");
  schema->callback([&context, &status] {
    std::cout << plan_schema_with(context.registry()).dump(2) << "\n";
    status = kExitOk;
  });

  const auto kind = std::make_shared<std::string>();
  CLI::App* words = app.add_subcommand("complete")->group("");
  words->add_option("KIND", *kind)->required();
  words->callback([kind, &context, &status] { status = complete(context, *kind); });
}

}  // namespace hyperhost
