// SPDX-License-Identifier: Apache-2.0
// VMware's disks as ImageMaps: a sparse extent with its descriptor in one file (monolithicSparse,
// streamOptimized), or a descriptor file and the extents it names (monolithicFlat, vmfs, vmfsThin,
// twoGbMaxExtentSparse/Flat …), which the source opens as its siblings.
#pragma once

#include <memory>

#include "format/image_map.hpp"

namespace hyper::disk {

bool is_vmdk(Op op, const SourceRef& source);
/// Throws HYPER_CORRUPT, HYPER_UNSUPPORTED (delta links, seSparse, devices), HYPER_AUTH (a name
/// that leads elsewhere), or what opening a sibling throws.
std::unique_ptr<ImageMap> open_vmdk(Op op, const SourceRef& source);

}  // namespace hyper::disk
