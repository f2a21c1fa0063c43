// SPDX-License-Identifier: Apache-2.0
// A loaded plugin: the library, its descriptor (copied up to the smaller size) and its interface
// tables. A library is never unloaded, because its threads, exit handlers and unwinders outlive its
// last use. Any thread.
#pragma once

#include <hyper/draft/boot.h>
#include <hyper/draft/guest.h>
#include <hyper/draft/target.h>
#include <hyper/hyper.h>

#include <sys/types.h>

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/plugin/operation.hpp"

namespace hyperhost {

/// The interface tables of a plugin that comes from no library: it runs in another process, or a
/// test makes it.
struct PluginTables {
  hyper_provider provider{};  ///< size 0 where it has no such interface
  hyper_image image{};
  hyper_converter converter{};
  hyper_storage storage{};
  hyper_boot boot{};
  hyper_guest guest{};
  hyper_target target{};
  decltype(hyper_plugin::validate) validate = nullptr;
  bool serial = true;
  std::optional<uid_t> user;  ///< of its process, where that is another than this one's
};

class Plugin {
 public:
  /// A plugin with these tables. The destructor calls `ended` last.
  static std::unique_ptr<Plugin> of_tables(const std::string& id, const std::string& version,
                                           const PluginTables& tables, std::function<void()> ended);
  /// Loads the library, negotiates and starts the plugin. All symbols are resolved at once and
  /// invisible to other libraries. Throws Error with the reason if the plugin is refused.
  static std::unique_ptr<Plugin> load(const std::string& path, const std::string& expected_id,
                                      const hyper_host* host = host_table());
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const std::string& id() const { return id_; }
  const std::string& version() const { return version_; }

  /// The interface's table, or nullptr if the plugin does not have it. Slots beyond the size of the
  /// plugin's own table are null. load() has checked that the required slots are filled.
  const hyper_provider* provider() const;
  const hyper_image* image() const;
  const hyper_converter* converter() const;
  const hyper_storage* storage() const;
  const hyper_boot* boot() const;
  const hyper_guest* guest() const;
  const hyper_target* target() const;

  /// The user of its process, where that is another than this one's: what the plugin's programs
  /// shall open has to be that user's.
  std::optional<uid_t> user() const { return user_; }

  /// The plugin's own check of options (offline). `op` collects its diagnostics.
  hyper_st validate(const char* iface, const Options& options, Operation& op) const;

  /// Hold it during each call into the plugin. It locks if the plugin takes one call at a time.
  std::unique_lock<std::recursive_mutex> enter() const;
  /// Whether the plugin takes one call at a time. HYPER_THREADS_OBJECT and unknown values are
  /// treated as HYPER_THREADS_SERIAL.
  bool serial() const { return plugin_.threads != HYPER_THREADS_PARALLEL; }

 private:
  Plugin() = default;
  hyper_plugin plugin_{};
  std::string id_, version_;
  bool started_ = false;
  std::function<void()> ended_;
  std::optional<uid_t> user_;
  mutable std::recursive_mutex serial_;
  hyper_provider provider_{};
  hyper_image image_{};
  hyper_converter converter_{};
  hyper_storage storage_{};
  hyper_boot boot_{};
  hyper_guest guest_{};
  hyper_target target_{};
};

}  // namespace hyperhost
