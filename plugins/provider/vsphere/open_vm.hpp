// SPDX-License-Identifier: Apache-2.0
// A VM that is ready to be read: in the power state of the policy, with a snapshot if it runs, and
// a lease for each open disk. close() undoes everything; so does the constructor if it fails
// half-way. Several threads may call open_disk.
#ifndef HYPERHOST_PLUGINS_VSPHERE_OPEN_VM_HPP
#define HYPERHOST_PLUGINS_VSPHERE_OPEN_VM_HPP

#include "connection.hpp"
#include "datastore_source.hpp"
#include "lease.hpp"
#include "power.hpp"
#include "snapshot.hpp"

namespace hyper::vsphere {

class OpenVm final : public ProviderVm {
 public:
  /// contents: the content ids (contents_of) of disks whose content must not have changed, by disk.
  OpenVm(Connection& connection, VmInfo vm, const VmOptions& options, std::string task_id,
         std::map<std::string, std::string> contents, Op op);

  std::unique_ptr<Source> open_disk(Op op, const std::string& disk_id, uint32_t flags) override;
  void close(Op op, hyper_st outcome) override;

 private:
  Error changed(const std::string& how) const;
  void check_contents(const VmInfo& now, Op op);
  void check_contents(Op op);
  void check_disk(const Disk& disk, Op op);
  void make_snapshot(Op op);
  std::shared_ptr<Lease> lease(Op op);
  std::unique_ptr<Source> open_by_lease(const Disk& disk, HostSlots::Slot slot, Op op);
  std::unique_ptr<Source> open_in_datastore(const Disk& disk, HostSlots::Slot& slot, Op op);
  DatastoreSource::Watch watch(const Disk& disk, bool must);
  void lease_from_now_on(const std::string& why, Op op);
  const std::string& slot_host() const;
  void look_for_consolidation(Op op);
  void undo(bool success, Op op);

  Connection& connection_;
  VmInfo vm_;
  const VmOptions options_;
  const std::string task_id_;
  const std::map<std::string, std::string> contents_;
  std::optional<PowerChange> power_;
  std::mutex mutex_;  // of what follows
  std::optional<OwnSnapshot> snapshot_;
  std::vector<std::weak_ptr<Lease>> leases_;
};

}  // namespace hyper::vsphere

#endif
