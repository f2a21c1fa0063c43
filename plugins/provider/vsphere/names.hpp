// SPDX-License-Identifier: Apache-2.0
// Names, parents and inventory paths of folders, datacenters, hosts, clusters and datastores, read
// once per connection. Inventory names escape '/', '\' and '%' (%2f %5c %25). Paths consist of
// escaped names; names for people are unescaped. Thread-safe.
#ifndef HYPERHOST_PLUGINS_VSPHERE_NAMES_HPP
#define HYPERHOST_PLUGINS_VSPHERE_NAMES_HPP

#include <map>
#include <mutex>

#include "properties.hpp"

namespace hyper::vsphere {

std::string unescaped_name(const std::string& name);

class Names {
 public:
  explicit Names(Session& session) : session_(session) {}

  /// Reads all of them at once, before listing thousands of VMs.
  void load_all(const http::Cancel& cancel);
  /// The name as the inventory has it; "" if it cannot be read.
  std::string name(const Ref& ref, const http::Cancel& cancel);
  /// "/DC/vm/folder"; without the root folder's own name.
  std::string path(const Ref& ref, const http::Cancel& cancel);
  /// The first ancestor (or itself) of that type; empty if there is none.
  Ref ancestor(Ref ref, const std::string& type, const http::Cancel& cancel);
  Ref parent(const Ref& ref, const http::Cancel& cancel) { return get(ref, cancel).parent; }

 private:
  struct Entry {
    std::string name;
    Ref parent;
  };
  static Entry entry_of(const Object& object);
  Entry get(const Ref& ref, const http::Cancel& cancel);

  Session& session_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;  // by id
};

}  // namespace hyper::vsphere

#endif
