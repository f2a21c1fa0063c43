// SPDX-License-Identifier: Apache-2.0
// Hyper-V's VHDX, fixed and dynamic, as an ImageMap; also one that was not closed: its log is
// replayed in memory (vhdx_log.hpp). [MS-VHDX].
#pragma once

#include <memory>

#include "format/image_map.hpp"

namespace hyper::disk {

bool is_vhdx(Op op, const SourceRef& source);
/// Throws HYPER_CORRUPT, or HYPER_UNSUPPORTED for differencing disks and for required parts of the
/// format that are not specified yet.
std::unique_ptr<ImageMap> open_vhdx(Op op, const SourceRef& source);

}  // namespace hyper::disk
