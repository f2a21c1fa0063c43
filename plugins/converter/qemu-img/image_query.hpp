// SPDX-License-Identifier: Apache-2.0
// Questions to qemu-img about an image that was admitted (image_header.hpp). Free functions.
#ifndef HYPERHOST_QEMU_IMG_IMAGE_QUERY_HPP
#define HYPERHOST_QEMU_IMG_IMAGE_QUERY_HPP

#include <cstdint>
#include <hyper/op.hpp>
#include <string>

#include "plugins/converter/qemu-img/file_view.hpp"
#include "plugins/converter/qemu-img/tool.hpp"

namespace hyperhost::qemu_img {

struct ImageInfo {
  uint64_t virtual_size = 0;
  std::string subformat;  ///< "" where qemu-img names none
};

/// spec: from image_spec(). shown: for messages. Throws HYPER_UNSUPPORTED if qemu-img says that
/// the image names a backing file.
ImageInfo query_info(hyper::Op op, const Tool& tool, const std::string& spec,
                     const std::string& shown);

/// Throws HYPER_CORRUPT if `qemu-img check` finds damage. Leaked clusters and formats without a
/// check are fine. A qcow2 is also damaged where it ends within what the guest sees of its last
/// cluster: QEMU would read zeros there.
void check_image(hyper::Op op, const Tool& tool, const std::string& spec, const std::string& format,
                 const FileView& image);

}  // namespace hyperhost::qemu_img

#endif
