// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/format_catalog.hpp"

#include <algorithm>
#include <set>

#include "core/base/near_miss.hpp"

namespace hyperhost {

FormatCatalog::FormatCatalog(const PluginRegistry& registry) {
  const auto converters = registry.ids_with(HYPER_IFACE_CONVERTER);
  for (const std::string& id : converters) plugins_.push_back({id, offers_of(registry, id), true});
  for (const std::string& id : registry.ids_with(HYPER_IFACE_IMAGE))
    if (std::find(converters.begin(), converters.end(), id) == converters.end())
      plugins_.push_back({id, offers_of(registry, id), false});
}

const ImageFormat* FormatCatalog::find(const std::string& format) const {
  for (const Plugin& plugin : plugins_)
    if (const ImageFormat* found = plugin.offers.format(format)) return found;
  return nullptr;
}

std::string FormatCatalog::canonical(const std::string& format) const {
  const ImageFormat* found = find(format);
  return found == nullptr ? format : found->name;
}

std::vector<std::string> FormatCatalog::names() const {
  std::set<std::string> all;
  for (const Plugin& plugin : plugins_)
    if (plugin.offers.formats)
      for (const ImageFormat& one : *plugin.offers.formats) all.insert(one.name);
  return {all.begin(), all.end()};
}

std::vector<std::string> FormatCatalog::targets() const {
  std::vector<std::string> all = names();
  std::erase_if(all, [this](const std::string& name) {
    return std::none_of(plugins_.begin(), plugins_.end(), [&](const Plugin& plugin) {
      return plugin.offers.writes(name).value_or(false);
    });
  });
  return all;
}

std::string FormatCatalog::extension(const std::string& format) const {
  if (format.empty()) return extension("raw");
  const ImageFormat* found = find(format);
  return found == nullptr ? "." + format : found->extensions.front();
}

std::string FormatCatalog::of_extension(std::string extension) const {
  std::transform(extension.begin(), extension.end(), extension.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  for (const Plugin& plugin : plugins_) {
    if (!plugin.offers.formats) continue;
    for (const ImageFormat& one : *plugin.offers.formats)
      if (std::find(one.extensions.begin(), one.extensions.end(), extension) !=
          one.extensions.end())
        return one.name;
  }
  return {};
}

bool FormatCatalog::is_plain(const std::string& format) const {
  const ImageFormat* found = find(format);
  return found == nullptr ? format == "raw" : found->signatures.empty();
}

Error FormatCatalog::unknown_target(const std::string& format) const {
  std::string list;
  for (const std::string& one : targets()) list += (list.empty() ? "" : ", ") + one;
  const std::string near = suggest(format, targets());
  return Error(Code::kConfig, "no plugin here writes the format '" + format + "'",
               list.empty() ? "no plugin here writes any" : "they write " + list,
               near.starts_with("did") ? near : "");
}

std::vector<std::string> FormatCatalog::writers(const std::string& format) const {
  std::vector<std::string> sure, unsaid;
  for (const Plugin& plugin : plugins_) {
    if (!plugin.converter) continue;
    const std::optional<bool> writes = plugin.offers.writes(format);
    if (writes.value_or(true)) (writes ? sure : unsaid).push_back(plugin.id);
  }
  sure.insert(sure.end(), unsaid.begin(), unsaid.end());
  return sure;
}

const Offers& offers_of(const PluginRegistry& registry, const std::string& reference) {
  static const Offers none;
  const PluginFile* file = registry.find(reference);
  return file == nullptr ? none : file->offers;
}

}  // namespace hyperhost
