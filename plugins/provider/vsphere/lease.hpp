// SPDX-License-Identifier: Apache-2.0
// An export lease (HttpNfcLease): the right to download a VM's disks. A thread of its own keeps it
// alive until its last user has left. It then ends with Complete if all users succeeded, else with
// Abort.
#ifndef HYPERHOST_PLUGINS_VSPHERE_LEASE_HPP
#define HYPERHOST_PLUGINS_VSPHERE_LEASE_HPP

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "debt.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

struct DeviceUrl {
  std::string key, import_key, url, thumbprint, target;
  bool disk = false;
};

/// What the server reports to have sent for a device.
struct ManifestEntry {
  std::string sha1, checksum, checksum_type;
  uint64_t size = 0;
};

/// Returns if a lease in this state, neither ready nor an error, may still become ready after it
/// was waited for so long. Else throws Error(HYPER_BUSY), retryable.
void expect_initializing(const std::string& state, std::chrono::nanoseconds waited,
                         const std::string& what);

class Lease {
 public:
  /// Opens a lease of the snapshot if there is one, else of the VM. Waits until the lease is ready,
  /// and up to `patience` while another operation blocks it.
  static std::shared_ptr<Lease> open(Session& session, const VmInfo& vm, const Ref& snapshot,
                                     const std::string& task_id, std::chrono::nanoseconds patience,
                                     Op op);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  const std::vector<DeviceUrl>& urls() const { return urls_; }
  /// The disk's url, or nullptr. It needs all disks of the VM to distinguish them.
  const DeviceUrl* url_of(const VmInfo& vm, const Disk& disk) const;

  /// Adds a user. False: the lease has ended or is ending.
  bool join();
  bool joinable() const;
  /// Removes a user. The last user to leave ends the lease.
  void leave(bool success, Op op) noexcept;
  /// Why the lease is lost; nothing if it is not.
  std::optional<Error> lost() const;
  /// Throws if the lease is known to be lost.
  void check() const;
  /// After a failed transfer: asks the server whether the lease is lost. Throws if it is.
  void probe(const http::Cancel& cancel);
  /// 0 to 100, which vCenter shows to its users.
  void progress(int percent) { percent_ = percent; }

  std::optional<ManifestEntry> manifest(const std::string& key, const http::Cancel& cancel);

 private:
  Lease(Session& session, const std::string& vm_name, Debt debt);
  void start(const char* method, const Ref& self, std::chrono::nanoseconds patience, Op op);
  void wait_until_ready(Op op);
  void renew(const http::Cancel& cancel);
  void keep_alive();
  void stop_keeping();
  void end(const char* method, Op op) noexcept;

  Session& session_;
  const std::string vm_name_;
  Debt debt_;
  Ref ref_;
  std::vector<DeviceUrl> urls_;
  std::chrono::milliseconds timeout_{300'000};
  std::atomic<int> percent_{0};
  mutable std::mutex mutex_;  // of what follows
  int users_ = 0;
  bool failed_ = false, ending_ = false;
  std::optional<Error> lost_;
  StopSignal stop_;
  std::thread keeper_;
};

}  // namespace hyper::vsphere

#endif
