// SPDX-License-Identifier: Apache-2.0
// What lies below an overlay: the name and format that its header gives, and the file beside it
// that is opened for them. An image names what its writer pleased, so nothing is opened unless it
// was allowed, and then only a plain name beside the image. Called while an image is opened.
#pragma once

#include <memory>
#include <string>

#include "format/image_file.hpp"
#include "format/image_map.hpp"
#include "format/probe.hpp"

namespace hyper::disk {

struct BackingName {
  std::string name;    ///< "" = the image stands alone
  std::string format;  ///< "" = the header does not say
};

/// From a qcow2 header: the name at `offset`, the format from the extensions, which begin at
/// `extensions` and lie within the first cluster.
BackingName read_backing_name(Op op, const ImageFile& file, uint64_t offset, uint64_t length,
                              uint64_t extensions, uint64_t cluster);

struct BackingImage {
  std::unique_ptr<OwnedSource> source;
  std::unique_ptr<ImageMap> map;
};

/// Throws HYPER_UNSUPPORTED where it is not allowed or its format is not known, HYPER_AUTH for a
/// name that leads elsewhere, HYPER_CORRUPT for a chain that is endless.
std::unique_ptr<BackingImage> open_backing(Op op, const ImageFile& overlay,
                                           const BackingName& below, const Backing& backing);

}  // namespace hyper::disk
