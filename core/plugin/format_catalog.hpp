// SPDX-License-Identifier: Apache-2.0
// The image formats of all usable plugins: their names, the extensions of their files, and the
// plugins that read or write each. Made from the manifests of a registry, without loading a plugin.
// If two plugins describe one format, the description of the more preferred plugin holds. Any
// thread.
#pragma once

#include <string>
#include <vector>

#include "core/plugin/registry.hpp"

namespace hyperhost {

class FormatCatalog {
 public:
  explicit FormatCatalog(const PluginRegistry& registry);

  /// "vpc" → "vhd". A name that no plugin lists stays as it is.
  std::string canonical(const std::string& format) const;
  /// Whether some plugin lists it, by name or alias.
  bool knows(const std::string& format) const { return find(format) != nullptr; }
  /// All of them, sorted.
  std::vector<std::string> names() const;
  /// Names of all formats that some plugin writes, sorted.
  std::vector<std::string> targets() const;
  /// ".qcow2". For a format that no plugin lists: "." and its name. For "": that of a raw disk.
  std::string extension(const std::string& format) const;
  /// The format of files with that extension (".VPC" → "vhd"); "" if none.
  std::string of_extension(std::string extension) const;
  /// Whether every file may have the format: it has no signature, as raw.
  bool is_plain(const std::string& format) const;
  /// The error that no plugin writes the format. It names the formats that plugins write.
  Error unknown_target(const std::string& format) const;
  /// Converters that write it, by preference. Converters whose manifest lists no formats come last.
  std::vector<std::string> writers(const std::string& format) const;

 private:
  const ImageFormat* find(const std::string& format) const;

  struct Plugin {
    std::string id;
    Offers offers;
    bool converter;
  };
  std::vector<Plugin> plugins_;  // by preference
};

/// The offers of a plugin by its reference (ID or ID@VERSION); empty ones if there is none.
const Offers& offers_of(const PluginRegistry& registry, const std::string& reference);

}  // namespace hyperhost
