// SPDX-License-Identifier: Apache-2.0
// Virtual PC's and Azure's VHD, fixed and dynamic, as an ImageMap. Virtual Hard Disk Image Format
// Specification 1.0. Sectors whose bit in a block's bitmap is clear were never written: zeros.
//
// The size of the disk is what QEMU takes it to be: the footer's current size where the creator
// is known to mean that (Hyper-V, Azure, Xen, newer QEMU …) or the geometry is at its limit, else
// cylinders x heads x sectors, as Virtual PC does.
#pragma once

#include <memory>

#include "format/image_map.hpp"

namespace hyper::disk {

/// By the footer's copy in front (dynamic) or the footer (fixed): cookie, checksum and a size that
/// agrees with the file's.
bool is_vhd(Op op, const SourceRef& source);
/// Throws HYPER_CORRUPT, or HYPER_UNSUPPORTED for differencing disks.
std::unique_ptr<ImageMap> open_vhd(Op op, const SourceRef& source);

}  // namespace hyper::disk
