// SPDX-License-Identifier: Apache-2.0
// What a disk image is, by its content: format, capacity, and whether it leans on other files.
// Reads a few headers; never trusts a name. Stateless.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "vmdk_descriptor.hpp"

namespace hyper::ovf {

/// A way to look at an image's bytes.
struct Peek {
  std::string name;  ///< for messages
  uint64_t size = 0;
  bool whole = true;  ///< false: only the beginning can be seen, and size is how much of it
  /// Up to len bytes; fewer only at the end.
  std::function<std::size_t(uint64_t offset, void* buf, std::size_t len)> read;
};

struct DiskFacts {
  std::string format;               ///< "vmdk", "qcow2", "raw", "vhd", "vhdx", "vdi"
  std::string subformat;            ///< "streamOptimized", "fixed" …; may be empty
  uint64_t capacity = 0;            ///< guest-visible bytes; 0 where the beginning does not tell
  std::vector<VmdkExtent> extents;  ///< further files: of a VMDK that is a text descriptor
};

/// Throws HYPER_UNSUPPORTED for an image that needs a parent or another file outside of the
/// format (a delta), HYPER_CORRUPT for a header that lies.
DiskFacts probe_disk(const Peek& peek);

}  // namespace hyper::ovf
