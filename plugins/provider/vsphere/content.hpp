// SPDX-License-Identifier: Apache-2.0
// What says that a disk's bytes cannot have changed, so that another run may go on with it.
#ifndef HYPERHOST_PLUGINS_VSPHERE_CONTENT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_CONTENT_HPP

#include <map>

#include "vm_info.hpp"

namespace hyper::vsphere {

struct Contents {
  /// By the disk's id: which file it is, its size, and when it was last written, as the datastore
  /// tells. Only of a VM that is off (the files of a running one are written all the time, their
  /// times seldom), and of a disk that lies in one flat file (the VM has no snapshots then).
  std::map<std::string, std::string> ids;
  std::string unknown;  ///< why the server does not tell it of a disk that it could be told of
};

/// Looks once into each folder that has disks of the VM.
Contents contents_of(Session& session, const VmInfo& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
