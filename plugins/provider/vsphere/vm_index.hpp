// SPDX-License-Identifier: Apache-2.0
// Which VMs have a name: the inventory's VMs by name, read in one go and kept for a minute, so that
// a plan that names fifty VMs reads them once. One a connection; any thread.
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
    std::string name;  ///< as the inventory has it
  };

  explicit VmIndex(Session& session) : session_(session) {}

  /// The VMs of that name, as the inventory writes it or unescaped.
  std::vector<Vm> named(const std::string& name, const http::Cancel& cancel);

 private:
  using Map = std::multimap<std::string, Vm>;  // by unescaped name
  std::shared_ptr<const Map> map(std::chrono::steady_clock::duration at_most,
                                 const http::Cancel& cancel);

  Session& session_;
  std::timed_mutex mutex_;  // held while it is read; of what follows
  std::shared_ptr<const Map> map_;
  std::chrono::steady_clock::time_point read_;
};

}  // namespace hyper::vsphere

#endif
