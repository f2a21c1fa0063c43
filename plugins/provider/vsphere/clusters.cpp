// SPDX-License-Identifier: Apache-2.0
#include "clusters.hpp"

namespace hyper::vsphere {
namespace {

constexpr auto kClusterLook = std::chrono::milliseconds(50);

std::optional<bool> known_flag(const pugi::xml_node& node, std::string_view path) {
  if (!descend(node, path)) return std::nullopt;
  return flag(node, path);
}

std::set<std::string> vms_in(const pugi::xml_node& node) {
  std::set<std::string> out;
  each(node, "vm", [&](const pugi::xml_node& vm) { out.insert(text(vm)); });
  return out;
}

using Groups = std::map<std::string, std::set<std::string>>;  // VMs by the group's name

std::optional<ClusterRule> read_rule(const pugi::xml_node& node, const Groups& groups) {
  if (!flag(node, "enabled")) return std::nullopt;
  ClusterRule rule;
  rule.name = text(node, "name");
  rule.mandatory = flag(node, "mandatory");
  const std::string type = xsi_type(node);
  if (type == "ClusterAffinityRuleSpec" || type == "ClusterAntiAffinityRuleSpec") {
    rule.kind = type == "ClusterAffinityRuleSpec" ? "together" : "apart";
    rule.vms = vms_in(node);
    return rule;
  }
  if (type != "ClusterVmHostRuleInfo") return std::nullopt;
  rule.hosts = text(node, "affineHostGroupName");
  rule.kind = rule.hosts.empty() ? "keep-off" : "run-on";
  if (rule.hosts.empty()) rule.hosts = text(node, "antiAffineHostGroupName");
  if (const auto group = groups.find(text(node, "vmGroupName")); group != groups.end())
    rule.vms = group->second;
  return rule;
}

}  // namespace

ClusterSettings read_cluster(const pugi::xml_node& configuration) {
  ClusterSettings out;
  out.drs = known_flag(configuration, "drsConfig/enabled");
  out.dpm = known_flag(configuration, "dpmConfigInfo/enabled");
  out.ha = known_flag(configuration, "dasConfig/enabled");
  Groups groups;
  each(configuration, "group", [&](const pugi::xml_node& group) {
    if (xsi_type(group) == "ClusterVmGroup") groups[text(group, "name")] = vms_in(group);
  });
  each(configuration, "rule", [&](const pugi::xml_node& node) {
    if (auto rule = read_rule(node, groups)) out.rules.push_back(std::move(*rule));
  });
  return out;
}

std::shared_ptr<const ClusterSettings> Clusters::settings(const Ref& cluster, Op op) {
  if (cluster.empty()) return nullptr;
  const http::Cancel cancel = op;
  std::unique_lock lock(mutex_, std::defer_lock);
  // By the system's clock: ThreadSanitizer does not see a lock that waited by another one.
  while (!lock.try_lock_until(std::chrono::system_clock::now() + kClusterLook))
    pause(std::chrono::nanoseconds(0), cancel);
  if (const auto found = read_.find(cluster.id); found != read_.end()) return found->second;
  std::shared_ptr<const ClusterSettings> made;
  try {
    const std::string what = "cannot read the cluster's configuration";
    const Retrieved got = retrieve_one(session_, cluster, {"configurationEx"}, what, cancel);
    if (const pugi::xml_node node = got.object.known("configurationEx", what))
      made = std::make_shared<ClusterSettings>(read_cluster(node));
  } catch (const Fault& fault) {
    op.debug(fault.summary() + ", so its rules are not known: " + fault.detail());
  }
  return read_[cluster.id] = made;
}

}  // namespace hyper::vsphere
