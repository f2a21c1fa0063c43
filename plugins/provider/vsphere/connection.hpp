// SPDX-License-Identifier: Apache-2.0
// The plugin's connection to one server: implements hyper.provider/1 with the session, the
// inventory and the exports. Any thread.
#ifndef HYPERHOST_PLUGINS_VSPHERE_CONNECTION_HPP
#define HYPERHOST_PLUGINS_VSPHERE_CONNECTION_HPP

#include <hyper/plugin.hpp>
#include <map>
#include <optional>
#include <set>

#include "clusters.hpp"
#include "debt.hpp"
#include "inventory.hpp"
#include "preflight.hpp"
#include "session.hpp"
#include "slots.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

class Connection final : public ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const Doc& config, Op op);
  Connection(const Settings& settings, const VmOptions& options, Op op);
  ~Connection() override;
  void disconnect(Op op) override;

  void list_vms(Op op, const char* pattern, const Emit& emit) override;
  std::string describe_vm(Op op, const std::string& vm) override;
  void preflight(Op op, const Doc& request) override;
  std::unique_ptr<ProviderVm> open_vm(Op op, const Doc& request) override;
  void undo(Op op, const Doc& entry) override;

  Session& session() { return session_; }
  Names& names() { return names_; }
  HostSlots& slots() { return slots_; }
  /// The client for a lease's url. '*' is the endpoint itself. Another host is trusted by the
  /// thumbprint that the server reports for it.
  http::Client& client_for(std::string& url, const std::string& thumbprint, bool& same_host);
  /// Whether the VM's disks are exported by lease because reading in the datastore failed.
  bool by_lease(const Ref& vm);
  /// Exports the VM's disks by lease from now on. false: they were already.
  bool take_by_lease(const Ref& vm);
  /// Writes the session into the journal, once: the leases of a killed run end with its session.
  void owe_session(const std::string& task_id, Op op);

 private:
  VmInfo read(const Ref& vm, Op op);

  Session session_;
  Names names_;
  VmIndex index_;
  Clusters clusters_;
  const VmOptions options_;
  HostSlots slots_;
  HostsTried hosts_tried_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<http::Client>> clients_;  // by thumbprint
  std::optional<Debt> session_debt_;
  std::set<std::string> by_lease_;  // VMs' ids
};

}  // namespace hyper::vsphere

#endif
