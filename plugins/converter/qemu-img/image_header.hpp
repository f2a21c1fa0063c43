// SPDX-License-Identifier: Apache-2.0
// What an image is, judged by its own bytes, and whether it may be given to QEMU at all: an image
// from outside can name other files of this machine (backing files, parents, data files, extents),
// which QEMU would open, and some truncations QEMU reads as zeros. So the header is read here
// first, by hand. Free functions; any thread.
#ifndef HYPERHOST_QEMU_IMG_IMAGE_HEADER_HPP
#define HYPERHOST_QEMU_IMG_IMAGE_HEADER_HPP

#include <string>

#include "plugins/converter/qemu-img/file_view.hpp"

namespace hyperhost::qemu_img {

/// QEMU's name for a format of ours ("vhd" and "vpc" are "vpc"); "" for one not on the list
/// raw, qcow2, vmdk, vdi, vhdx, vhd.
std::string qemu_format(const std::string& format);
/// Our name for QEMU's.
std::string plain_format(const std::string& qemu_name);

/// QEMU's name of the format of the content; "" if it is none of the list (so: raw, perhaps).
std::string detect_format(const FileView& image);

struct HeaderFacts {
  bool check_first = false;  ///< its tables are to be checked: QEMU does not see truncation itself
};

/// Throws if QEMU is not to open it as `format`: HYPER_UNSUPPORTED for images that need another
/// file, are encrypted or deltas; HYPER_CORRUPT for what is not that format or is truncated;
/// HYPER_AUTH for extents that lead out of the descriptor's directory.
HeaderFacts admit_image(const FileView& image, const std::string& format);

}  // namespace hyperhost::qemu_img

#endif
