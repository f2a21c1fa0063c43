// SPDX-License-Identifier: Apache-2.0
// From loaded pieces to the batch as the guest sees it.
#pragma once

#include <cstdint>

#include "engine/batch.hpp"

namespace hyper::disk {

/// `disk_bytes`: the disk's size. Inflates the compressed pieces of a loaded batch into `plain`,
/// clears what no piece covers and finds the zero granules. Returns the bytes of the source that
/// the streams took. Throws HYPER_CORRUPT with the file offset of a damaged unit.
uint64_t decode(Workspace& space, uint64_t batch_bytes, uint64_t disk_bytes);

}  // namespace hyper::disk
