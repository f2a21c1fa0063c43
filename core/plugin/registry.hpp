// SPDX-License-Identifier: Apache-2.0
// Which plugins there are, where each was found, and why one is not used. Scanning reads manifests
// only; a plugin's code runs first when it is asked for. Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/plugin/plugin.hpp"

namespace hyperhost {

struct SearchDir {
  std::string path;
  std::string origin;     ///< "built-in", "HYPERHOST_PLUGIN_PATH", "--plugin-dir", "plan"
  bool required = false;  ///< a missing directory is an error, not silence
};

/// A file found in a search directory.
struct PluginFile {
  std::string path, origin;
  std::string id, version;  ///< empty where the manifest could not be read
  nlohmann::json manifest;  ///< null where it could not be read
  std::string refusal;      ///< why it is not used; empty = usable
  bool chosen = false;      ///< the one used for its id
};

class PluginRegistry {
 public:
  /// Reads every directory's manifests. Of several files with one id the newest version is
  /// chosen, of equal ones that of the earlier directory. Never throws for a bad plugin.
  explicit PluginRegistry(const std::vector<SearchDir>& dirs);
  ~PluginRegistry();

  /// The directories of HYPERHOST_PLUGIN_PATH (colon-separated) behind `first`, then the built-in
  /// one: beside the program ("../lib/hyperhost/plugins").
  static std::vector<SearchDir> search_path(std::vector<SearchDir> first);

  /// What is wrong with a manifest; empty = nothing.
  static std::string manifest_problem(const nlohmann::json& manifest);

  const std::vector<PluginFile>& files() const { return files_; }
  /// The chosen file of that id; nullptr if there is none.
  const PluginFile* find(const std::string& id) const;
  /// All usable ids whose manifest names that interface, sorted.
  std::vector<std::string> ids_with(const std::string& iface) const;

  /// Loads and starts it at the first call. Throws Error naming the reason: not found (with near
  /// names and where was looked), refused, failed to start.
  Plugin& load(const std::string& id);

 private:
  void scan(const SearchDir& dir);
  void choose();
  std::vector<SearchDir> dirs_;
  std::vector<PluginFile> files_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Plugin>> loaded_;
};

}  // namespace hyperhost
