// SPDX-License-Identifier: Apache-2.0
// Which 1 MiB blocks of a disk were changed on its way, and what they were: with it the digest of
// the source can be computed from the delivered disk. changes.md has the file's form. Plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/block/overlay.hpp"
#include "core/disk/content.hpp"

namespace hyperhost {

struct ChangeList {
  uint64_t size = 0;          ///< guest-visible bytes of the disk
  std::string source_digest;  ///< of the disk before; "" = not computed
  std::string digest;         ///< of the disk as it is delivered; "" = not computed
  std::vector<BlockLeaf> blocks;

  /// Of the blocks that are listed.
  uint64_t bytes() const;
};

/// The blocks of the view that differ from the disk below it, with the leaves that they have there.
/// Reads each block that the overlay holds, twice. Throws Error.
std::vector<BlockLeaf> changed_blocks(Overlay& view, Operation& op);

std::string format_changes(const ChangeList& changes);
/// Throws Error(kCorrupt) that names `name` for anything but what format_changes() writes.
ChangeList parse_changes(std::string_view text, const std::string& name);
/// The same of a file of at most 256 MiB. Throws Error.
ChangeList read_changes(const std::filesystem::path& path);

}  // namespace hyperhost
