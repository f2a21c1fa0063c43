// SPDX-License-Identifier: Apache-2.0
// The stages of the product, each in the file of its name. Any thread.
#pragma once

#include <memory>

#include "core/migrate/vm_stage.hpp"

namespace hyperhost {

/// Reads the disks, converts them and verifies the result; nothing has its final name yet.
std::unique_ptr<VmStage> transfer_stage();
/// Gives the disks their names, all of them or none, and claims the destination.
std::unique_ptr<VmStage> commit_stage();
/// Boots the finished disks and looks how far the guest comes.
std::unique_ptr<VmStage> boot_stage();
/// Sends the finished files to the store.
std::unique_ptr<VmStage> upload_stage();
/// Takes the disks to the target and defines the machine there.
std::unique_ptr<VmStage> define_stage();
/// Writes the manifest; then removes local files where the plan keeps none.
std::unique_ptr<VmStage> manifest_stage();

}  // namespace hyperhost
