// SPDX-License-Identifier: Apache-2.0
// Which plugins there are, where each was found, and why one is not used. Scanning reads manifests
// only; a plugin's code runs first when it is asked for. Any thread.
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
  std::string refusal;      ///< why it is not used; empty = usable
  bool chosen = false;      ///< the one used for its id
  bool superseded = false;  ///< good, but another version is used unless this one is asked for
  bool shadows = false;     ///< has the id of a built-in plugin and is none: used by version only
  Offers offers{};          ///< of its manifest; empty where that is refused
};

/// Where a plugin's code runs.
enum class Isolation { kAuto, kNone, kProcess };
/// "auto", "none", "process"; kAuto for anything else.
Isolation isolation_named(const std::string& name);

/// The variables of the environment that a manifest names for its plugin's worker process.
std::vector<std::string> environment_of(const nlohmann::json& manifest);

/// "acme@1.2" → "acme".
std::string plugin_id(const std::string& reference);

class PluginRegistry {
 public:
  /// Reads every directory's manifests. Of several files with one id a built-in one is chosen, else
  /// the newest version, of equal ones that of the earlier directory. Never throws for a bad
  /// plugin.
  explicit PluginRegistry(const std::vector<SearchDir>& dirs);
  ~PluginRegistry();

  /// `first`, the directories of HYPERHOST_PLUGIN_PATH (colon-separated), `then`, the one of other
  /// packages ("plugins.d" beside the built-in one), and the built-in one: beside the program
  /// ("../lib/hyperhost/plugins"), and for a program that uses this as a shared library beside the
  /// library ("hyperhost/plugins").
  static std::vector<SearchDir> search_path(std::vector<SearchDir> first,
                                            const std::vector<SearchDir>& then = {});

  /// A plugin that is part of this process (a test, an embedding program) and comes from no file.
  /// manifest: as its file would carry it. Before the registry is used. Throws Error for a manifest
  /// that is wrong, names another id, or names an id that is there already.
  void add(std::unique_ptr<Plugin> plugin, nlohmann::json manifest);

  /// What is wrong with a manifest; empty = nothing.
  static std::string manifest_problem(const nlohmann::json& manifest);

  const std::vector<PluginFile>& files() const { return files_; }
  /// reference: an id for the chosen file of that id, or ID@VERSION for the newest that begins with
  /// that version ("1.2": 1.2.0, 1.2.9, not 1.20.0). nullptr if there is none.
  const PluginFile* find(const std::string& reference) const;
  /// All usable ids whose manifest names that interface: the most preferred first, equal ones by
  /// id.
  std::vector<std::string> ids_with(const std::string& iface) const;
  /// The first of them. Throws Error if no plugin has that interface.
  std::string default_for(const std::string& iface) const;

  /// The plugin that stores to URLs of that scheme: the one that prefer_storage named, or the only
  /// one whose manifest claims it. Throws Error that names those that could be meant.
  std::string storage_for(const std::string& scheme) const;
  /// Decides which of several plugins takes a scheme. Before the registry is shared.
  void prefer_storage(const std::string& scheme, const std::string& id) {
    preferred_storage_[scheme] = id;
  }

  /// Loads and starts it at the first call. Throws Error naming the reason: not found (with near
  /// names and where was looked), refused, failed to start.
  Plugin& load(const std::string& reference);

  /// Where the code of plugins runs that nobody else decides about. kAuto: those of the built-in
  /// directory in this process, all others in processes of their own.
  void isolate_by_default(Isolation isolation) { default_isolation_ = isolation; }
  /// Decides about one, by id, before it is loaded. The stricter of two decisions holds.
  void isolate(const std::string& id, Isolation isolation);
  /// What the worker process of a plugin may allocate at most, before it is loaded; 0 = no limit.
  /// Default: half of this machine's memory, and no less than 2 GiB. The host's word, for each
  /// plugin and for one:
  void memory_by_default(uint64_t bytes) { default_memory_ = bytes; }
  void memory_of(const std::string& id, uint64_t bytes);
  /// A plan's, which can only lower what the host said.
  void limit_memory(const std::string& id, uint64_t bytes);
  /// How that file's code would run: kNone or kProcess.
  Isolation isolation_of(const PluginFile& file) const;

 private:
  void scan(const SearchDir& dir);
  void choose();
  static bool better(const PluginFile& a, const PluginFile& b);
  [[noreturn]] void not_found(const std::string& reference) const;
  std::vector<SearchDir> dirs_;
  std::vector<PluginFile> files_;
  Isolation default_isolation_ = Isolation::kAuto;
  std::map<std::string, Isolation> isolation_;
  std::optional<uint64_t> default_memory_;
  std::map<std::string, uint64_t> memory_;                // by id
  std::map<std::string, std::string> preferred_storage_;  // by scheme
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Plugin>> loaded_;  // by path
};

}  // namespace hyperhost
