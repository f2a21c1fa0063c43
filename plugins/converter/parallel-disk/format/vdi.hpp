// SPDX-License-Identifier: Apache-2.0
// VirtualBox's VDI 1.1, dynamic and static, as an ImageMap.
#pragma once

#include <memory>

#include "format/image_map.hpp"

namespace hyper::disk {

bool is_vdi(Op op, const SourceRef& source);
/// Throws HYPER_CORRUPT, or HYPER_UNSUPPORTED for undo and differencing images.
std::unique_ptr<ImageMap> open_vdi(Op op, const SourceRef& source);

}  // namespace hyper::disk
