// SPDX-License-Identifier: Apache-2.0
#include "core/run/bind_destination.hpp"

#include <algorithm>

#include "core/plan/destination_url.hpp"

namespace hyperhost {
namespace {

std::string forms(const Offers& offers) {
  std::string out;
  for (const Destination& one : offers.destinations) out += (out.empty() ? "" : ", ") + one.form;
  return out;
}

bool offers_storage(const PluginFile& file) {
  const auto& interfaces = file.manifest["interfaces"];
  return std::find(interfaces.begin(), interfaces.end(), HYPER_IFACE_STORAGE) != interfaces.end();
}

/// "/tls/ca" → "tls", "ca". A manifest's pointers escape nothing.
std::vector<std::string> tokens(const std::string& pointer) {
  std::vector<std::string> out;
  for (std::size_t begin = 1; begin <= pointer.size();) {
    const std::size_t end = std::min(pointer.find('/', begin), pointer.size());
    out.push_back(pointer.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

/// Sets the option, unless the plan has given it the same value.
void set_option(ConfigValue& options, const std::string& pointer, const ConfigValue& value,
                const std::string& part) {
  ConfigValue* at = &options;
  const auto names = tokens(pointer);
  for (const std::string& name : names) {
    if (at->members() == nullptr) return;  // the plugin's schema says what is wrong with it
    const bool last = &name == &names.back();
    if (at->find(name) == nullptr)
      at->set(name, last ? value : ConfigValue::mapping(value.mark()));
    else if (last && at->find(name)->to_json() != value.to_json())
      throw Error(
          Code::kConfig,
          "the destination's " + part + " and the storage's option " + pointer.substr(1) +
              " contradict each other",
          "one says " + value.to_json().dump() + ", the other " + at->find(name)->to_json().dump(),
          "leave the option out");
    at = at->find(name);
  }
}

void place(const UploadSpec& upload, const PluginRegistry& registry, PluginSpec& storage) {
  const DestinationUrl url = split_destination(upload.destination);
  if (storage.plugin.empty()) storage.plugin = registry.storage_for(url.scheme);
  const PluginFile* file = registry.find(storage.plugin);
  if (file == nullptr || !offers_storage(*file)) return;  // binding it says what is wrong
  const Destination* how = file->offers.destination(url.scheme);
  if (how == nullptr)
    throw Error(Code::kConfig,
                "the plugin '" + storage.plugin + "' does not store to " + url.scheme + "://", "",
                file->offers.destinations.empty() ? "its manifest claims no destinations"
                                                  : "it takes " + forms(file->offers));
  std::string path = url.path;
  if (!how->absolute_path && path.starts_with('/')) path.erase(0, 1);
  const struct {
    const char* name;
    const std::string& text;
    const std::string& pointer;
  } parts[] = {
      {"host", url.host, how->host}, {"port", url.port, how->port}, {"path", path, how->path}};
  for (const auto& part : parts) {
    if (part.text.empty()) continue;
    if (part.pointer.empty())
      throw Error(Code::kConfig,
                  std::string("the destination has a ") + part.name + ", '" + part.text +
                      "', which the plugin '" + storage.plugin + "' does not take",
                  "", "write " + how->form);
    const Mark& mark = upload.destination_mark;
    set_option(storage.options, part.pointer,
               &part.text == &url.port ? ConfigValue(int64_t{std::stoi(url.port)}, mark)
                                       : ConfigValue(part.text, mark),
               part.name);
  }
}

}  // namespace

void place_storage(const UploadSpec& upload, const PluginRegistry& registry, PluginSpec& storage) {
  if (scheme_of(upload.destination).empty()) return;  // the schema has said so
  try {
    place(upload, registry, storage);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.where = upload.destination_mark.where();
    diagnostic.path = upload.destination_pointer;
    throw Error(std::move(diagnostic));
  }
}

}  // namespace hyperhost
