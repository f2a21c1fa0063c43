// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/session.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

namespace hyperhost {

Session::Session(PluginRegistry& registry, std::map<std::string, PluginChoice> providers,
                 SessionServices services)
    : registry_(registry), choices_(std::move(providers)), services_(std::move(services)) {}

std::string Session::provider_plugin(const std::string& name) const {
  const auto found = choices_.find(name);
  return found == choices_.end() ? std::string() : found->second.plugin;
}

template <class Handle>
Handle& Session::cached(Slots<Handle>& slots, const std::string& key, const PluginChoice& choice,
                        Operation& op) {
  const auto found = [&] {
    const std::lock_guard lock(mutex_);
    return slots.try_emplace(key).first;  // a map's nodes stay where they are
  }();
  Slot<Handle>& slot = found->second;
  std::unique_lock lock(slot.mutex, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(100))) op.cancel().check();
  if (!slot.handle)
    slot.handle = std::make_unique<Handle>(registry_.load(choice.plugin), choice.options, op);
  return *slot.handle;
}

ProviderHandle& Session::provider(const std::string& name, Operation& op) {
  const auto found = choices_.find(name);
  if (found == choices_.end()) throw Error(Code::kConfig, "there is no provider '" + name + "'");
  return cached(providers_, name, found->second, op);
}

ConverterHandle& Session::converter(const PluginChoice& choice, Operation& op) {
  {
    const std::lock_guard lock(mutex_);
    converter_options_.try_emplace(plugin_id(choice.plugin), choice.options);
  }
  return cached(converters_, choice.key(), choice, op);
}

StorageHandle& Session::storage(const PluginChoice& choice, Operation& op) {
  return cached(storages_, choice.key(), choice, op);
}

StorageHandle& Session::local_storage(const std::filesystem::path& directory, Operation& op) {
  return storage({"local", Options(nlohmann::json{{"path", directory.string()}})}, op);
}

bool Session::find_reader(const std::string& first, const std::string& except,
                          const std::function<bool(const ImageReader&)>& use) {
  auto ids = registry_.ids_with(HYPER_IFACE_IMAGE);
  std::stable_partition(ids.begin(), ids.end(),
                        [&](const auto& id) { return id == plugin_id(first); });
  for (const std::string& id : ids) {
    if (id == plugin_id(except)) continue;
    Options options;
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = converter_options_.find(id); found != converter_options_.end())
        options = found->second;
    }
    std::optional<ImageReader> reader;
    try {
      reader.emplace(registry_.load(id), std::move(options));
    } catch (const Error&) {
      // A reader that does not start (a missing qemu-img) is one reader less; who needs it says so.
      if (id == plugin_id(first)) throw;
      continue;
    }
    if (use(*reader)) return true;
  }
  return false;
}

}  // namespace hyperhost
