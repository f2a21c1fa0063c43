// SPDX-License-Identifier: Apache-2.0
// Finds obstacles of an export before anything changes. Only reads.
#ifndef HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP

#include <map>
#include <mutex>
#include <optional>

#include "vm_info.hpp"

namespace hyper::vsphere {

/// Remembers which hosts can be reached, so that a connection tries each host once. Thread-safe.
class HostsTried {
 public:
  /// Why `host` cannot be reached; "" if it can. The first call for a host runs try_host().
  template <class F>
  std::string why(const std::string& host, F try_host) {
    const std::lock_guard lock(mutex_);
    const auto found = tried_.find(host);
    if (found != tried_.end()) return found->second;
    return tried_[host] = try_host();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> tried_;
};

/// Reports every finding. Throws Reported if one of them is an error.
void check_vm(Session& session, HostsTried& hosts, const VmInfo& vm, const VmOptions& options,
              Op op);

/// Why a disk of a VM cannot be exported, with a hint; nothing if it can. frozen: the disk is read
/// from a snapshot.
std::optional<Error> unfit(const VmInfo& vm, const Disk& disk, bool frozen);

}  // namespace hyper::vsphere

#endif
