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
#include "core/base/clock.hpp"
#include "core/disk/image_readers.hpp"
#include "core/migrate/disk_slots.hpp"
#include "core/migrate/vm_stage.hpp"
#include "core/plugin/boot_handle.hpp"
#include "core/plugin/guest_handle.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/registry.hpp"
#include "core/plugin/target_handle.hpp"
#include "core/state/resume_store.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

/// What a session keeps its records in and reads the time from.
struct SessionServices {
  std::shared_ptr<Journal> journal;           ///< null = plugins may change nothing outside
  std::shared_ptr<ResumeStore> resume_store;  ///< null = its VMs cannot be resumed
  std::shared_ptr<const HostClock> clock = HostClock::of_the_machine();
  std::shared_ptr<const VmStageTable> stages{};  ///< null = vm_stage_table()
  std::chrono::nanoseconds answer_timeout{0};    ///< of a provider's short calls; 0 = none
};

class Session {
 public:
  /// providers: what MigrationConfig::provider may name.
  Session(PluginRegistry& registry, std::map<std::string, PluginChoice> providers,
          SessionServices services = {});

  PluginRegistry& registry() { return registry_; }
  /// How fast it may send, all in all and for each task.
  const std::shared_ptr<Bandwidth>& bandwidth() const { return bandwidth_; }
  DiskSlots& disk_slots() { return disk_slots_; }
  const SessionServices& services() const { return services_; }
  const VmStageTable& stages() const {
    return services_.stages ? *services_.stages : vm_stage_table();
  }
  /// An operation that may use the session's journal. `name` as Operation has it.
  Operation operation(std::string name, std::shared_ptr<CancelSource> cancel,
                      SendLimits limits = {}) const {
    return Operation(std::move(name), std::move(cancel), {services_.journal}, std::move(limits));
  }
  /// The plugin behind a provider's name; "" if there is none of that name.
  std::string provider_plugin(const std::string& name) const;
  /// One more name for MigrationConfig::provider; a name that is known stays what it is.
  void add_provider(const std::string& name, const PluginChoice& choice);

  ProviderHandle& provider(const std::string& name, Operation& op);
  ConverterHandle& converter(const PluginChoice& choice, Operation& op);
  StorageHandle& storage(const PluginChoice& choice, Operation& op);
  BootHandle& boot(const PluginChoice& choice, Operation& op);
  GuestHandle& guest(const PluginChoice& choice, Operation& op);
  TargetHandle& target(const PluginChoice& choice, Operation& op);
  /// Files below a directory, through the plugin whose manifest claims file:// URLs.
  StorageHandle& local_storage(const std::filesystem::path& path, Operation& op);
  /// The same through that plugin. Throws Error if its manifest does not claim file://.
  StorageHandle& directory(const std::string& plugin, const std::string& path, Operation& op);

  /// Readers of disk images, with the options of the session's converters.
  const ImageReaders& images() const { return images_; }

 private:
  /// Opened by the first caller; others wait for that one key only. A failed open leaves the slot
  /// empty, and the next caller tries again.
  template <class Handle>
  struct Slot {
    std::timed_mutex mutex;
    std::unique_ptr<Handle> handle;
  };
  template <class Handle>
  using Slots = std::map<std::string, Slot<Handle>>;
  template <class Handle>
  Handle& cached(Slots<Handle>& slots, const std::string& key, const PluginChoice& choice,
                 Operation& op);

  PluginRegistry& registry_;
  std::map<std::string, PluginChoice> choices_;  ///< guarded by mutex_; nothing is ever removed
  const SessionServices services_;
  const std::shared_ptr<Bandwidth> bandwidth_ = std::make_shared<Bandwidth>();
  DiskSlots disk_slots_;
  mutable std::mutex mutex_;  ///< of the maps; never held while something is opened
  std::map<std::string, Options> converter_options_;  // by plugin id
  const ImageReaders images_;
  Slots<ProviderHandle> providers_;
  Slots<ConverterHandle> converters_;
  Slots<StorageHandle> storages_;
  Slots<BootHandle> boots_;
  Slots<GuestHandle> guests_;
  Slots<TargetHandle> targets_;
};

}  // namespace hyperhost
