// SPDX-License-Identifier: Apache-2.0
// A loaded plugin: the library, its descriptor (copied up to min(size)) and its interface tables.
// Never unloaded: threads, exit handlers and unwinders of a foreign library outlive its last use.
// Any thread.
#pragma once

#include <hyper/hyper.h>

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/plugin/operation.hpp"

namespace hyperhost {

/// What a plugin in another process is to the host: functions that ask there.
struct PluginTables {
  hyper_provider provider{};  ///< size 0 where it has no such interface
  hyper_image image{};
  hyper_converter converter{};
  hyper_storage storage{};
  decltype(hyper_plugin::validate) validate = nullptr;
  bool serial = true;
};

class Plugin {
 public:
  /// A plugin that is loaded elsewhere. `ended` is called last.
  static std::unique_ptr<Plugin> of_tables(const std::string& id, const std::string& version,
                                           const PluginTables& tables, std::function<void()> ended);
  /// Loads (symbols resolved now, visible to nobody else), negotiates and starts it. Throws Error
  /// that says why it was refused.
  static std::unique_ptr<Plugin> load(const std::string& path, const std::string& expected_id,
                                      const hyper_host* host = host_table());
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const std::string& id() const { return id_; }
  const std::string& version() const { return version_; }

  /// The interface's table with what the plugin's is shorter by zeroed; nullptr if it has none.
  /// Throws Error where a slot that this interface cannot do without is empty.
  const hyper_provider* provider() const;
  const hyper_image* image() const;
  const hyper_converter* converter() const;
  const hyper_storage* storage() const;

  /// The plugin's own check of options (offline). Diagnostics land in `op`.
  hyper_st validate(const char* iface, const Options& options, Operation& op) const;

  /// To be held around calls into the plugin: locks where the plugin takes one call at a time.
  std::unique_lock<std::recursive_mutex> enter() const;
  /// One call per object is kept by one call per plugin; so is what is not known here.
  bool serial() const { return plugin_.threads != HYPER_THREADS_PARALLEL; }

 private:
  Plugin() = default;
  hyper_plugin plugin_{};
  std::string id_, version_;
  bool started_ = false;
  std::function<void()> ended_;
  mutable std::recursive_mutex serial_;
  hyper_provider provider_{};
  hyper_image image_{};
  hyper_converter converter_{};
  hyper_storage storage_{};
};

}  // namespace hyperhost
