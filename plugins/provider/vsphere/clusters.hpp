// SPDX-License-Identifier: Apache-2.0
// What clusters do for their VMs: DRS, DPM, HA, and the rules that place VMs. Read once per cluster
// and connection. Thread-safe.
#ifndef HYPERHOST_PLUGINS_VSPHERE_CLUSTERS_HPP
#define HYPERHOST_PLUGINS_VSPHERE_CLUSTERS_HPP

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "properties.hpp"

namespace hyper::vsphere {

struct ClusterRule {
  std::string name;
  std::string kind;           ///< "run-on", "keep-off", "together", "apart"
  std::string hosts;          ///< the host group's name, for the first two
  bool mandatory = false;     ///< must, not should
  std::set<std::string> vms;  ///< references' ids
};

struct ClusterSettings {
  std::optional<bool> drs, dpm, ha;  ///< nothing: the server does not say
  std::vector<ClusterRule> rules;    ///< those that are enabled
};

/// From a cluster's configurationEx.
ClusterSettings read_cluster(const pugi::xml_node& configuration);

class Clusters {
 public:
  explicit Clusters(Session& session) : session_(session) {}
  /// Null: no cluster, or this user may not read it.
  std::shared_ptr<const ClusterSettings> settings(const Ref& cluster, Op op);

 private:
  Session& session_;
  std::timed_mutex mutex_;                                              // held during a read
  std::map<std::string, std::shared_ptr<const ClusterSettings>> read_;  // by id
};

}  // namespace hyper::vsphere

#endif
