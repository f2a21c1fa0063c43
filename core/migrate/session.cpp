// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/session.hpp"

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/plugin/format_catalog.hpp"

namespace hyperhost {

Session::Session(PluginRegistry& registry, std::map<std::string, PluginChoice> providers,
                 SessionServices services)
    : registry_(registry),
      choices_(std::move(providers)),
      services_(std::move(services)),
      images_(registry, [this](const auto& id) {
        const std::lock_guard lock(mutex_);
        const auto found = converter_options_.find(id);
        return found == converter_options_.end() ? Options() : found->second;
      }) {}

std::string Session::provider_plugin(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = choices_.find(name);
  return found == choices_.end() ? std::string() : found->second.plugin;
}

void Session::add_provider(const std::string& name, const PluginChoice& choice) {
  const std::lock_guard lock(mutex_);
  choices_.try_emplace(name, choice);
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
  // By the system's clock: ThreadSanitizer does not see a lock that waited by another one.
  while (!lock.try_lock_until(std::chrono::system_clock::now() + std::chrono::milliseconds(100)))
    op.cancel().check();
  if (!slot.handle)
    slot.handle = std::make_unique<Handle>(registry_.load(choice.plugin), choice.options, op);
  return *slot.handle;
}

ProviderHandle& Session::provider(const std::string& name, Operation& op) {
  const PluginChoice* choice = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = choices_.find(name);
    if (found == choices_.end()) throw Error(Code::kConfig, "there is no provider '" + name + "'");
    choice = &found->second;
  }
  return cached(providers_, name, *choice, op);
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

BootHandle& Session::boot(const PluginChoice& choice, Operation& op) {
  return cached(boots_, choice.key(), choice, op);
}

GuestHandle& Session::guest(const PluginChoice& choice, Operation& op) {
  return cached(guests_, choice.key(), choice, op);
}

TargetHandle& Session::target(const PluginChoice& choice, Operation& op) {
  return cached(targets_, choice.key(), choice, op);
}

StorageHandle& Session::local_storage(const std::filesystem::path& path, Operation& op) {
  return directory(registry_.storage_for("file"), path.string(), op);
}

StorageHandle& Session::directory(const std::string& plugin, const std::string& path,
                                  Operation& op) {
  const Destination* how = offers_of(registry_, plugin).destination("file");
  if (how == nullptr || how->path.empty())
    throw Error(Code::kUnsupported, "the plugin '" + plugin + "' does not store to directories", "",
                "its manifest's destinations name no option for the path of file://");
  nlohmann::json options = nlohmann::json::object();
  options[nlohmann::json::json_pointer(how->path)] = path;
  return storage({plugin, Options(std::move(options))}, op);
}

}  // namespace hyperhost
