// SPDX-License-Identifier: Apache-2.0
// The artifact manifest, version 1.0: the record of a finished migration that other tools read
// (hyper2kvm) and that `hyperhost verify` checks again. Members of our own stand under "hyperhost".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/plugin/format_catalog.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// The document; `result` holds the committed disks.
nlohmann::ordered_json make_manifest(const MigrationConfig& config, const VmRoute& route,
                                     const MigrationResult& result);

/// What is wrong with a manifest, by JSON Pointer; empty = it is a valid 1.0 manifest whose disks
/// have formats of `formats`.
std::vector<std::string> check_manifest(const nlohmann::json& manifest,
                                        const FormatCatalog& formats);

/// A disk of a manifest, as verify needs it.
struct ManifestDisk {
  std::string id, format, path, digest;  ///< path: absolute; digest: may be empty
  std::string source_digest;  ///< of the disk before its guest was prepared; may be empty
  std::string changes;        ///< name of the list of changes; "" = none
  uint64_t bytes = 0;         ///< of the file
  uint64_t virtual_size = 0;  ///< 0 = not recorded
};

/// Reads a manifest file (at most 16 MiB). Throws Error naming what is wrong with it.
std::vector<ManifestDisk> read_manifest(const std::string& path, const FormatCatalog& formats);

}  // namespace hyperhost
