// SPDX-License-Identifier: Apache-2.0
// How an image is named to QEMU: always as "json:{…}" with the driver spelled out, so that neither
// its content nor a colon, comma or dash in its name decides what QEMU does. Pure functions.
#ifndef HYPERHOST_QEMU_IMG_IMAGE_SPEC_HPP
#define HYPERHOST_QEMU_IMG_IMAGE_SPEC_HPP

#include <string>

#include "plugins/converter/qemu-img/file_view.hpp"

namespace hyperhost::qemu_img {

/// format: QEMU's name. Throws HYPER_UNSUPPORTED where QEMU cannot name it (a path that is not
/// UTF-8; a range that ends at an odd byte with other data right behind it).
std::string image_spec(const FileView& image, const std::string& format);

}  // namespace hyperhost::qemu_img

#endif
