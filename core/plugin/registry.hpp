// SPDX-License-Identifier: Apache-2.0
// The plugins on the search path: where the host found each, and why it does not use one. A scan
// reads manifests only. A plugin's code first runs in load(). Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/offers.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost {

struct SearchDir {
  std::string path;
  std::string origin;     ///< "built-in", "HYPERHOST_PLUGIN_PATH", "--plugin-dir", "plan", a file
  bool required = false;  ///< a missing directory is an error, not silence
};

/// A file found in a search directory.
struct PluginFile {
  std::string path, origin;
  std::string id, version;  ///< empty where the manifest could not be read
  nlohmann::json manifest;  ///< null where it could not be read
  std::string refusal;      ///< why the host does not use it; empty = usable
  bool chosen = false;      ///< the host uses it for its id
  bool superseded = false;  ///< usable, but the host uses another version unless asked for this one
  bool shadows = false;     ///< has a built-in plugin's id without being one: used by version only
  Offers offers{};          ///< of its manifest; empty if the manifest is refused
};

/// The process in which a plugin's code runs.
enum class Isolation { kAuto, kNone, kProcess };
/// "auto", "none", "process"; kAuto for anything else.
Isolation isolation_named(const std::string& name);

/// How the process of a plugin that works on guests is confined (isolation/confinement.hpp).
/// kAuto: as far as this system allows it. Processes of other plugins are not.
enum class Confine { kOff, kAuto, kRequired };
/// "off", "required"; kAuto for anything else.
Confine confine_named(const std::string& name);

/// The variables of the environment that a manifest names for its plugin's worker process.
std::vector<std::string> environment_of(const nlohmann::json& manifest);

/// "acme@1.2" → "acme".
std::string plugin_id(const std::string& reference);

class PluginRegistry {
 public:
  /// Reads the manifests of every directory. Of several files with one id, it chooses a built-in
  /// one, else the newest version; of equal versions, the one in the earlier directory. A bad
  /// plugin never makes it throw.
  explicit PluginRegistry(const std::vector<SearchDir>& dirs);
  ~PluginRegistry();

  /// The search path: `first`, the directories of HYPERHOST_PLUGIN_PATH (colon-separated), `then`,
  /// the directory of other packages ("plugins.d" beside the built-in one), and the built-in
  /// directory. That one lies beside the program ("../lib/hyperhost/plugins"), or, for a program
  /// that uses this as a shared library, beside the library ("hyperhost/plugins").
  static std::vector<SearchDir> search_path(std::vector<SearchDir> first,
                                            const std::vector<SearchDir>& then = {});

  /// Adds a plugin that is part of this process (a test, an embedding program) and comes from no
  /// file. manifest: as its file would carry it. Call it before the registry is used. Throws Error
  /// if the manifest is invalid, names another id, or names an id that the registry has already.
  void add(std::unique_ptr<Plugin> plugin, nlohmann::json manifest);

  /// The problem of a manifest; empty = there is none.
  static std::string manifest_problem(const nlohmann::json& manifest);

  const std::vector<PluginFile>& files() const { return files_; }
  /// The file for a reference; nullptr if there is none. An id finds the chosen file of that id.
  /// ID@VERSION finds the newest version that begins with VERSION ("1.2": 1.2.0, 1.2.9, not
  /// 1.20.0).
  const PluginFile* find(const std::string& reference) const;
  /// All usable ids whose manifest names that interface, the most preferred first, equally
  /// preferred ones by id.
  std::vector<std::string> ids_with(const std::string& iface) const;
  /// The first of ids_with(). Throws Error if no plugin has that interface.
  std::string default_for(const std::string& iface) const;

  /// The plugin that stores to URLs of that scheme: the one that prefer_storage named, or the only
  /// one whose manifest claims the scheme. Throws Error that names the candidates.
  std::string storage_for(const std::string& scheme) const;
  /// Decides which of several plugins gets a scheme. Call it before the registry is shared.
  void prefer_storage(const std::string& scheme, const std::string& id) {
    preferred_storage_[scheme] = id;
  }

  /// Loads and starts the plugin at the first call. Throws Error with the reason: not found (with
  /// similar names and the directories that were searched), refused, failed to start.
  Plugin& load(const std::string& reference);

  /// Decides where plugins without a decision of their own (isolate()) run. kAuto: those of the
  /// built-in directory that do not prepare or boot guests run in this process, all others in
  /// processes of their own.
  void isolate_by_default(Isolation isolation) { default_isolation_ = isolation; }
  /// Decides where one plugin runs, by its id, before it is loaded. The stricter of two decisions
  /// holds.
  void isolate(const std::string& id, Isolation isolation);
  /// The most memory that the worker process of a plugin may allocate; 0 = no limit. Default: half
  /// of this machine's memory, and at least 2 GiB, or 4 GiB if it prepares or boots guests. Set by
  /// the host's configuration, for every plugin and for one plugin, before the plugin is loaded.
  void memory_by_default(uint64_t bytes) { default_memory_ = bytes; }
  void memory_of(const std::string& id, uint64_t bytes);
  /// Set by a plan. It can only lower the host's limit.
  void limit_memory(const std::string& id, uint64_t bytes);
  /// How processes of plugins without a decision of their own (confine()) are confined.
  void confine_by_default(Confine how) { default_confine_ = how; }
  /// Decides it for one plugin, before it is loaded. The stricter of two decisions holds.
  void confine(const std::string& id, Confine how);
  /// The user that confined processes of a run by root become. Default: "nobody".
  void confined_user(const std::string& name) { confined_user_ = name; }
  /// Where that file's code would run: kNone (in this process) or kProcess.
  Isolation isolation_of(const PluginFile& file) const;

 private:
  void scan(const SearchDir& dir);
  void choose();
  Confine confine_of(const PluginFile& file) const;
  static bool better(const PluginFile& a, const PluginFile& b);
  [[noreturn]] void not_found(const std::string& reference) const;
  std::vector<SearchDir> dirs_;
  std::vector<PluginFile> files_;
  Isolation default_isolation_ = Isolation::kAuto;
  std::map<std::string, Isolation> isolation_;
  Confine default_confine_ = Confine::kAuto;
  std::map<std::string, Confine> confine_;
  std::string confined_user_ = "nobody";
  std::optional<uint64_t> default_memory_;
  std::map<std::string, uint64_t> memory_;                // by id
  std::map<std::string, std::string> preferred_storage_;  // by scheme
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Plugin>> loaded_;  // by path
};

}  // namespace hyperhost
