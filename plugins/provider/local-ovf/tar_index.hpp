// SPDX-License-Identifier: Apache-2.0
// Where the members of a tar archive lie: POSIX ustar, pax and GNU headers, so that an OVA is read
// in place. Own code rather than libarchive: a reader in place needs the data's offset (libarchive
// tells the header's only), must not resynchronise behind a damaged header, and must not apply
// filters that would make offsets meaningless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file.hpp"

namespace hyper::ovf {

struct TarMember {
  std::string name;  ///< without leading "./"
  uint64_t offset = 0, size = 0;
  bool regular = true;  ///< false: a link or a device; it has no bytes of its own
};

struct TarIndex {
  std::vector<TarMember> members;  ///< in the order of the archive; directories left out
  bool end_marker = true;          ///< false: the file ends without the two blocks of zeros
};

/// Walks the headers. Throws HYPER_CORRUPT for a damaged or truncated archive, HYPER_UNSUPPORTED
/// for sparse and multi-volume members and for compressed archives.
TarIndex index_tar(const File& file);

}  // namespace hyper::ovf
