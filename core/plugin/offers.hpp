// SPDX-License-Identifier: Apache-2.0
// A plugin's offers beside its interfaces: the image formats it reads and writes, the destinations
// it stores to, and its rank among plugins of its kind. They come from the manifest, without
// loading the plugin. Plain values: any thread.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace hyperhost {

/// Bytes that a file of a format has at a fixed offset.
struct FormatSignature {
  int64_t offset = 0;  ///< negative: from the file's end, -512 = its last 512 bytes
  std::string bytes;
};

struct ImageFormat {
  std::string name;                         ///< "qcow2"; at most 15 characters (hyper_source)
  std::vector<std::string> aliases;         ///< other names of the same format: "vpc" of "vhd"
  bool read = false, write = false;         ///< at least one of them
  std::vector<std::string> extensions;      ///< ".vhd"; files that are written get the first
  std::vector<FormatSignature> signatures;  ///< one match is enough; empty: any file (raw)

  bool is(const std::string& format) const;  ///< by name or alias
};

/// The URLs that a storage accepts. host, port and path are JSON Pointers to the options that these
/// parts of a URL become; "" = a URL of this scheme has no such part.
struct Destination {
  std::string scheme;            ///< "s3"
  std::string host, port, path;  ///< "/bucket", "", "/prefix"
  bool absolute_path = false;    ///< the path keeps its leading slash
  std::string form;              ///< for people: "s3://BUCKET/PREFIX"
};

struct Offers {
  /// Missing: the manifest does not say, so the host asks the plugin.
  std::optional<std::vector<ImageFormat>> formats;
  std::vector<Destination> destinations;
  std::map<std::string, int> preference;  ///< by interface; the highest is the default

  /// nullptr: not listed.
  const ImageFormat* format(const std::string& name) const;
  /// Nothing: the manifest does not say.
  std::optional<bool> reads(const std::string& format) const;
  std::optional<bool> writes(const std::string& format) const;
  const Destination* destination(const std::string& scheme) const;
  int preference_of(const std::string& iface) const;
};

/// Reads the offers from a manifest, which is hostile until it is checked. Returns the problem; ""
/// = there is none, and `out` is complete.
std::string read_offers(const nlohmann::json& manifest, Offers& out);

}  // namespace hyperhost
