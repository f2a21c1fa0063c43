// SPDX-License-Identifier: Apache-2.0
// The look at what a VM's disks hold, some hundred KiB of each, through the sources of an open VM:
// no plugin but the reader of the image, and no program. Functions of one session's thread.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/plan/plan.hpp"
#include "core/plugin/filter/counted_source.hpp"
#include "core/structures/disk_structure.hpp"
#include "core/vm/finding.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

struct VmRun;

struct StructureReport {
  std::vector<DiskStructure> disks;  ///< as the route's
  std::vector<VmFinding> findings;
  uint64_t bytes_read =
      0;  ///< from the source; as the guest sees them where a reader opened a file
  std::chrono::nanoseconds duration{0};
};

/// No more of a disk is read than this, as its guest sees it.
inline constexpr uint64_t kMostOfDisk = uint64_t{4} << 20;

/// Whether every disk can be read in any order.
bool is_seekable(const VmRoute& route);

/// A disk of an open VM as its guest sees it, to be read in any order. read: gets the bytes that
/// are read from the source, unless it is null.
std::shared_ptr<SourceHandle> open_guest_disk(Session& session, ProviderVmHandle& opened,
                                              const VmDescription& vm, const DiskDescription& disk,
                                              Operation& op, std::shared_ptr<ReadCount> read = {});

/// REQUIRES: is_seekable(route). vm: null where all disks are blank. Throws Error.
StructureReport read_structures(Session& session, ProviderVmHandle* vm, const VmRoute& route,
                                const GuestSettings& guest, Operation& op);

/// What the plan makes of findings. An error stays one where the plan prepares or boots the guest,
/// does not accept it, and does not leave it to a guest plugin that has such a rule itself.
void settle(std::vector<VmFinding>& findings, const MigrationConfig& job, PluginRegistry& plugins);

/// Of the transfer stage, before anything is copied or prepared, where the plan prepares or boots
/// the guest. Adds to the result's findings, and throws Error for the first error that is left.
void check_structures(VmRun& run, ProviderVmHandle* vm);

}  // namespace hyperhost
