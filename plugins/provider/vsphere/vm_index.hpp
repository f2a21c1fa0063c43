// SPDX-License-Identifier: Apache-2.0
// The inventory's VMs by name, read at once and kept for a minute, so that a plan that names fifty
// VMs reads them once. One per connection. Any thread.
#ifndef HYPERHOST_PLUGINS_VSPHERE_VM_INDEX_HPP
#define HYPERHOST_PLUGINS_VSPHERE_VM_INDEX_HPP

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "names.hpp"

namespace hyper::vsphere {

class VmIndex {
 public:
  struct Vm {
    Ref ref, parent;
    std::string name;  ///< as in the inventory
  };

  explicit VmIndex(Session& session) : session_(session) {}

  /// The VMs of that name, escaped as in the inventory or unescaped.
  std::vector<Vm> named(const std::string& name, const http::Cancel& cancel);

 private:
  using Map = std::multimap<std::string, Vm>;  // by unescaped name
  std::shared_ptr<const Map> map(std::chrono::steady_clock::duration at_most,
                                 const http::Cancel& cancel);

  Session& session_;
  std::timed_mutex mutex_;  // held during a read; guards the members below
  std::shared_ptr<const Map> map_;
  std::chrono::steady_clock::time_point read_;
};

}  // namespace hyper::vsphere

#endif
