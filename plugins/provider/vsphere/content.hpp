// SPDX-License-Identifier: Apache-2.0
// The content ids of a VM's disks. An equal id proves that a disk's bytes cannot have changed, so
// that a later run may resume the disk.
#ifndef HYPERHOST_PLUGINS_VSPHERE_CONTENT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_CONTENT_HPP

#include <map>

#include "vm_info.hpp"

namespace hyper::vsphere {

struct Contents {
  /// By the disk's id: its file, the file's size and the time of the last write, as the datastore
  /// reports them. Only for a VM that is off: the files of a running VM change all the time, and
  /// their times seldom. Only for a disk that lies in one flat file (the VM then has no snapshots).
  std::map<std::string, std::string> ids;
  std::string unknown;  ///< why the server does not report it for a disk that could have an id
};

/// Reads each folder that has disks of the VM once.
Contents contents_of(Session& session, const VmInfo& vm, const http::Cancel& cancel);

}  // namespace hyper::vsphere

#endif
