// SPDX-License-Identifier: Apache-2.0
// What can be known to be in the way before anything is touched. Reads only.
#ifndef HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_PREFLIGHT_HPP

#include <map>
#include <mutex>
#include <optional>

#include "vm_info.hpp"

namespace hyper::vsphere {

/// Which hosts can be reached, so that each is tried once a connection. Thread-safe.
class HostsTried {
 public:
  /// Why `host` cannot be reached, "" if it can: try_host() tells, the first time.
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

/// Reports every finding; throws Reported when one of them is an error.
void check_vm(Session& session, HostsTried& hosts, const VmInfo& vm, const VmOptions& options,
              Op op);

/// Why a disk of a VM cannot be exported, with what to do; nothing if it can. frozen: it is read
/// from a snapshot.
std::optional<Error> unfit(const VmInfo& vm, const Disk& disk, bool frozen);

}  // namespace hyper::vsphere

#endif
