// SPDX-License-Identifier: Apache-2.0
// The text descriptor of a VMDK, alone in a file or embedded: which files it names, whether it is
// a delta on a parent, and the neutral name for a finished file. Pure functions over text.
#ifndef HYPERHOST_QEMU_IMG_VMDK_DESCRIPTOR_HPP
#define HYPERHOST_QEMU_IMG_VMDK_DESCRIPTOR_HPP

#include <cstdint>
#include <string>
#include <vector>

namespace hyperhost::qemu_img {

struct VmdkExtent {
  std::string access, type, file;
  uint64_t sectors = 0, flat_offset_sectors = 0;
};

struct VmdkDescriptor {
  bool has_parent = false;
  std::string create_type;
  std::vector<VmdkExtent> extents;
};

/// Understands a superset of the extent lines QEMU does, so that no name escapes the checks.
VmdkDescriptor parse_vmdk_descriptor(const std::string& text);

/// In the sparse VMDK at `path`, replaces the name its embedded descriptor gives to itself (that
/// of the temporary file) by "disk.vmdk", as writers of streams do. Throws on I/O errors.
void neutralise_vmdk_name(const std::string& path);

}  // namespace hyperhost::qemu_img

#endif
