// SPDX-License-Identifier: Apache-2.0
// One disk image to another, through the same converter, storage and verification as a plan's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/disk_transfer.hpp"
#include "core/migrate/session.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/registry.hpp"
#include "core/vm/migration.hpp"

namespace hyperhost {

struct SingleDiskOptions {
  std::string input, output;
  std::string format, source_format;  ///< "" = by OUT's extension, by IN's content
  std::string disk;                   ///< of an OVA: which one; "" = it has one only
  std::string compression = "none", verify = "none", durability = "file", converter;
  PluginSpec host_converter;  ///< this host's, where `converter` is empty; may be empty too
  std::optional<int> compression_level;
  std::optional<uint64_t> cluster_size;
  bool no_digest = false, deterministic = false, overwrite = false, allow_backing = false;
};

/// Whether it is an OVA or an OVF descriptor, and so no disk image although raw would take it.
bool is_package(const SourceHandle& source, Operation& op);

/// What the content is, as the first reader that knows it says.
std::string detect_format(Session& session, const SourceHandle& source, const std::string& path,
                          Operation& op);

/// From now on the session reads overlays through the backing files beside them.
void allow_backing(Session& session, PluginRegistry& registry, Operation& op);

/// Bytes of this stage; total 0 = not known. Any thread.
using OnProgress = std::function<void(Stage stage, uint64_t done, uint64_t total)>;

/// Throws Error; OUT is either finished or not there.
DiskResult convert_single_disk(PluginRegistry& registry, const SingleDiskOptions& options,
                               const std::shared_ptr<CancelSource>& cancel,
                               const OnProgress& progress);

}  // namespace hyperhost
