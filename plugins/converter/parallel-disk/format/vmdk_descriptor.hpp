// SPDX-License-Identifier: Apache-2.0
// A VMDK's descriptor: the text, in a file of its own or embedded in a sparse extent, that says
// which extents in which files make the disk. Virtual Disk Format 5.0, "The Descriptor File".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/image_file.hpp"

namespace hyper::disk {

/// No descriptor is longer than this; 2 TiB in 2 GiB files need some 60 KiB.
constexpr uint64_t kMaxVmdkDescriptor = 4u << 20;

struct VmdkExtentLine {
  uint64_t text_offset = 0;  ///< of the line within the text
  uint64_t sectors = 0;      ///< never 0
  uint64_t offset = 0;       ///< in sectors, within the file (FLAT)
  std::string access;        ///< "RW", "RDONLY", "NOACCESS"
  std::string type;          ///< "FLAT", "SPARSE", "ZERO", "VMFS", "VMFSSPARSE", …
  std::string name;          ///< of the file, as written; "" if none is given
};

struct VmdkDescriptor {
  std::string create_type;  ///< letters and digits only, or ""
  std::vector<VmdkExtentLine> extents;
  uint64_t virtual_size = 0;  ///< bytes
};

/// Does a file that begins with this text look like a descriptor?
bool is_vmdk_descriptor(std::string_view beginning);

/// `file` and `text_offset` say where the text came from, for messages. Throws HYPER_CORRUPT for
/// what cannot be, HYPER_UNSUPPORTED for delta links and encrypted disks.
VmdkDescriptor parse_vmdk_descriptor(std::string_view text, const ImageFile& file,
                                     uint64_t text_offset);

/// Throws HYPER_AUTH unless the name is that of a file beside the descriptor.
void check_vmdk_extent_name(const std::string& name);

}  // namespace hyper::disk
