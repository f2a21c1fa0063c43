// SPDX-License-Identifier: Apache-2.0
// An export lease (HttpNfcLease): the right to download a VM's disks, kept alive from a thread of
// its own until the last of its users has left. Complete if all of them succeeded, else Abort.
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

/// What the server says it sent for a device.
struct ManifestEntry {
  std::string sha1, checksum, checksum_type;
  uint64_t size = 0;
};

class Lease {
 public:
  /// Of the snapshot if there is one, else of the VM. Waits until it is ready, and for `patience`
  /// while another operation is in its way.
  static std::shared_ptr<Lease> open(Session& session, const VmInfo& vm, const Ref& snapshot,
                                     const std::string& task_id, std::chrono::nanoseconds patience,
                                     Op op);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  const std::vector<DeviceUrl>& urls() const { return urls_; }
  /// The disk's url, or nullptr. All of the VM's disks are needed to tell them apart.
  const DeviceUrl* url_of(const VmInfo& vm, const Disk& disk) const;

  /// False: it has ended, or is about to.
  bool join();
  bool joinable() const;
  /// The last one to leave ends the lease.
  void leave(bool success, Op op) noexcept;
  /// Why it cannot be used any more.
  std::optional<Error> lost() const;
  /// Throws if it is known to be lost.
  void check() const;
  /// Asks the server: when a transfer has failed, this may be why. Throws if so.
  void probe(const http::Cancel& cancel);
  /// 0 to 100, for whoever looks at the server.
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
