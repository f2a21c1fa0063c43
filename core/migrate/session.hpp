// SPDX-License-Identifier: Apache-2.0
// What a run holds open: one connection a provider, one instance a converter (its disks share
// threads and memory), one connection a storage. Opened when first asked for, closed together.
// Thread-safe; what it returns lives as long as the session.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/bandwidth.hpp"
#include "core/disk/image_readers.hpp"
#include "core/migrate/disk_slots.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/registry.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

class Session {
 public:
  /// providers: what MigrationConfig::provider may name.
  Session(PluginRegistry& registry, std::map<std::string, PluginChoice> providers);

  PluginRegistry& registry() { return registry_; }
  /// How fast it may send, all in all and for each task.
  const std::shared_ptr<Bandwidth>& bandwidth() const { return bandwidth_; }
  DiskSlots& disk_slots() { return disk_slots_; }
  /// The plugin behind a provider's name; "" if there is none of that name.
  std::string provider_plugin(const std::string& name) const;
  /// One more name for MigrationConfig::provider; a name that is known stays what it is.
  void add_provider(const std::string& name, PluginChoice choice);

  ProviderHandle& provider(const std::string& name, Operation& op);
  ConverterHandle& converter(const PluginChoice& choice, Operation& op);
  StorageHandle& storage(const PluginChoice& choice, Operation& op);
  /// Files below a directory, through the plugin whose manifest claims file:// URLs.
  StorageHandle& local_storage(const std::filesystem::path& path, Operation& op);
  /// The same through that plugin. Throws Error if its manifest does not claim file://.
  StorageHandle& directory(const std::string& plugin, const std::string& path, Operation& op);

  /// Readers of disk images, with the options of the session's converters.
  const ImageReaders& images() const { return images_; }

 private:
  template <class Handle>
  Handle& cached(std::map<std::string, std::unique_ptr<Handle>>& cache, const std::string& key,
                 const PluginChoice& choice, Operation& op);

  PluginRegistry& registry_;
  std::map<std::string, PluginChoice> choices_;  ///< guarded by mutex_; nothing is ever removed
  const std::shared_ptr<Bandwidth> bandwidth_ = std::make_shared<Bandwidth>();
  DiskSlots disk_slots_;
  mutable std::mutex mutex_;
  std::map<std::string, Options> converter_options_;  // by plugin id
  const ImageReaders images_;
  std::map<std::string, std::unique_ptr<ProviderHandle>> providers_;
  std::map<std::string, std::unique_ptr<ConverterHandle>> converters_;
  std::map<std::string, std::unique_ptr<StorageHandle>> storages_;
};

}  // namespace hyperhost
