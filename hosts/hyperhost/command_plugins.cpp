// SPDX-License-Identifier: Apache-2.0
// hyperhost plugins list|info: what there is, where it came from, why one is not used.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/plugin/format_catalog.hpp"
#include "core/plugin/isolation/worker.hpp"
#include "hosts/hyperhost/command_plugins.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

/// "hyper.provider/1" → "provider".
std::string kinds(const nlohmann::json& manifest) {
  std::string out;
  if (!manifest.is_object()) return out;
  for (const auto& iface : manifest.value("interfaces", nlohmann::json::array())) {
    if (!iface.is_string()) continue;
    std::string name = iface.get<std::string>();
    if (name.rfind("hyper.", 0) == 0) name.erase(0, 6);
    name.erase(std::min(name.find('/'), name.size()));
    out += (out.empty() ? "" : ", ") + name;
  }
  return out;
}

std::string names_of(const Offers& offers, bool write) {
  std::string out;
  if (!offers.formats) return out;
  for (const ImageFormat& one : *offers.formats)
    if (write ? one.write : one.read) out += (out.empty() ? "" : " ") + one.name;
  return out;
}

std::string forms_of(const Offers& offers) {
  std::string out;
  for (const Destination& one : offers.destinations) out += (out.empty() ? "" : ", ") + one.form;
  return out;
}

/// What plans and `convert` may say because these plugins are there.
void print_offers(const PluginRegistry& registry) {
  Table formats({"Format", "Extension", "Read by", "Written by"});
  const FormatCatalog catalog(registry);
  const auto plugins_that = [&](const std::string& iface, auto does) {
    std::string out;
    for (const std::string& id : registry.ids_with(iface))
      if (does(offers_of(registry, id))) out += (out.empty() ? "" : ", ") + id;
    return out;
  };
  for (const std::string& name : catalog.names())
    formats.row({name, catalog.extension(name),
                 plugins_that(HYPER_IFACE_IMAGE,
                              [&](const Offers& one) { return one.reads(name).value_or(false); }),
                 plugins_that(HYPER_IFACE_CONVERTER, [&](const Offers& one) {
                   return one.writes(name).value_or(false);
                 })});
  if (!catalog.names().empty()) std::cout << "\n" << formats.text();
  Table destinations({"Destination", "Stored by"});
  bool any = false;
  for (const std::string& id : registry.ids_with(HYPER_IFACE_STORAGE))
    for (const Destination& one : offers_of(registry, id).destinations) {
      destinations.row({one.form, id});
      any = true;
    }
  if (any) std::cout << "\n" << destinations.text();
}

int list(Context& context) {
  const auto& files = context.registry().files();
  if (context.json()) {
    nlohmann::json all = nlohmann::json::array();
    for (const PluginFile& file : files)
      all.push_back(
          {{"id", file.id},
           {"version", file.version},
           {"path", file.path},
           {"origin", file.origin},
           {"used", file.chosen},
           {"refusal", file.refusal},
           {"superseded", file.superseded},
           {"isolation",
            context.registry().isolation_of(file) == Isolation::kProcess ? "process" : "none"},
           {"manifest", file.manifest}});
    context.print_json({{"plugins", all}});
    return kExitOk;
  }
  Table table({"Plugin", "Version", "Kind", "Origin", "File"});
  for (const PluginFile& file : files)
    if (file.chosen)
      table.row({file.id, file.version, kinds(file.manifest), file.origin, file.path});
  std::cout << table.text();
  print_offers(context.registry());
  for (const PluginFile& file : files)
    if (!file.chosen)
      std::cout << "\nnot used: " << file.path << " (" << file.origin << "): " << file.refusal
                << "\n";
  return kExitOk;
}

std::string type_of(const nlohmann::json& schema) {
  const auto type = schema.find("type");
  std::string text = type == schema.end() ? ""
                     : type->is_string()  ? type->get<std::string>()
                                          : type->dump();
  if (const auto choices = schema.find("enum"); choices != schema.end()) {
    text.clear();
    for (const auto& choice : *choices)
      text += (text.empty() ? "" : " | ") +
              (choice.is_string() ? choice.get<std::string>() : choice.dump());
  }
  if (schema.value("x-hyper-secret", false)) text += ", secret: {env: NAME} or {file: PATH}";
  return text;
}

void print_options(const nlohmann::json& schema, const std::string& prefix) {
  const auto properties = schema.find("properties");
  if (properties == schema.end() || !properties->is_object()) return;
  const auto required = schema.value("required", nlohmann::json::array());
  for (const auto& [key, option] : properties->items()) {
    if (!option.is_object()) continue;
    std::cout << "  " << prefix << key << " (" << type_of(option);
    if (std::find(required.begin(), required.end(), key) != required.end())
      std::cout << ", required";
    if (option.contains("default")) std::cout << ", default " << option["default"].dump();
    std::cout << ")\n";
    if (option.contains("description") && option["description"].is_string())
      std::cout << "      " << option["description"].get<std::string>() << "\n";
    print_options(option, prefix + key + ".");
  }
}

int info(Context& context, const std::string& id) {
  PluginRegistry& registry = context.registry();
  const PluginFile* file = registry.find(id);
  if (file == nullptr) {
    for (const PluginFile& other : registry.files())
      if (other.id == id)
        throw Error(Code::kUnsupported, "plugin '" + id + "' (" + other.path + ") is refused",
                    other.refusal);
    registry.load(id);  // says what near names there are
    return kExitFailed;
  }
  if (context.json()) {
    context.print_json(
        {{"path", file->path}, {"origin", file->origin}, {"manifest", file->manifest}});
    return kExitOk;
  }
  std::cout << file->id << " " << file->version << " (" << kinds(file->manifest) << ")\n";
  if (file->manifest.value("summary", nlohmann::json()).is_string())
    std::cout << file->manifest["summary"].get<std::string>() << "\n";
  std::cout << "file: " << file->path << " (" << file->origin << ")\n";
  const std::pair<const char*, std::string> offers[] = {{"reads", names_of(file->offers, false)},
                                                        {"writes", names_of(file->offers, true)},
                                                        {"stores to", forms_of(file->offers)}};
  for (const auto& [verb, what] : offers)
    if (!what.empty()) std::cout << verb << ": " << what << "\n";
  if (file->manifest.contains("options")) {
    std::cout << "\nOptions:\n";
    print_options(file->manifest["options"], "");
  }
  return kExitOk;
}

}  // namespace

void add_plugin_commands(CLI::App& app, Context& context, int& status) {
  CLI::App* plugins = app.add_subcommand("plugins", "What plugins there are and what they take");
  plugins->require_subcommand(1);
  plugins->fallthrough();
  CLI::App* all =
      plugins->add_subcommand("list", "All plugins, where each came from, and why one is not used");
  all->footer("Example:\n  hyperhost plugins list");
  all->callback([&context, &status] { status = list(context); });
  CLI::App* one = plugins->add_subcommand("info", "A plugin's options, from its schema");
  auto id = std::make_shared<std::string>();
  one->add_option("PLUGIN", *id, "Its id")->required();
  one->footer("Example:\n  hyperhost plugins info local-ovf");
  one->callback([id, &context, &status] { status = info(context, *id); });
  add_plugin_new_command(*plugins, context, status);
  // The host's own: a process for a plugin, see core/plugin/isolation.
  CLI::App* serve = plugins->add_subcommand("serve")->group("");
  struct Served {
    std::string file, id, user;
    bool confined = false;
  };
  auto served = std::make_shared<Served>();
  serve->add_option("FILE", served->file)->required();
  serve->add_option("ID", served->id)->required();
  serve->add_flag("--confined", served->confined);
  serve->add_option("--user", served->user);
  serve->callback([served, &status] {
    status = isolation::serve_plugin(served->file, served->id,
                                     isolation::confinement_of(served->confined, served->user));
  });
  add_plugin_check_command(*plugins, context, status);
}

}  // namespace hyperhost
