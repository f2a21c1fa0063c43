// SPDX-License-Identifier: Apache-2.0
// The text descriptor of a VMDK (VMware's "Virtual Disk Format 5.0"): its kind, its parent, its
// extents. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hyper::ovf {

struct VmdkExtent {
  uint64_t bytes = 0;
  std::string type;  ///< "FLAT", "SPARSE", "ZERO", "VMFS" …
  std::string file;  ///< "" for ZERO
};

struct VmdkDescriptor {
  std::string create_type;
  bool has_parent = false;
  std::vector<VmdkExtent> extents;
  uint64_t capacity_bytes = 0;  ///< the sum of the extents
};

constexpr uint64_t kMaxVmdkDescriptor = 1u << 20;

/// Whether the text mentions a parent file anywhere: readers (QEMU) look for the words, not for
/// well-formed lines.
bool mentions_vmdk_parent(const std::string& text);

bool looks_like_vmdk_descriptor(const std::string& text);
/// Throws HYPER_CORRUPT with the line; label is the file, for messages.
VmdkDescriptor parse_vmdk_descriptor(const std::string& text, const std::string& label);

}  // namespace hyper::ovf
