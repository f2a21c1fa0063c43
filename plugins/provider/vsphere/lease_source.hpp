// SPDX-License-Identifier: Apache-2.0
// One disk of a lease as a source: the host's stream, hashed on the way. finish() compares it with
// the server's manifest and leaves the lease. One thread at a time.
#ifndef HYPERHOST_PLUGINS_VSPHERE_LEASE_SOURCE_HPP
#define HYPERHOST_PLUGINS_VSPHERE_LEASE_SOURCE_HPP

#include <hyper/source.hpp>
#include <memory>

#include "lease.hpp"
#include "slots.hpp"
#include "stream_check.hpp"

namespace hyper::vsphere {

class LeaseSource final : public Source {
 public:
  /// Requests the stream. The caller has joined the lease; finish() or the destructor leaves it.
  LeaseSource(std::shared_ptr<Lease> lease, const DeviceUrl& device, const VmInfo& vm,
              const Disk& disk, http::Client& client, const std::string& url,
              const std::string& cookie, HostSlots::Slot slot, Op op);
  ~LeaseSource() override;
  void close(Op op) override;

  SourceTraits traits() const override;
  std::pair<const void*, uint64_t> next(Op op) override;
  std::string finish(Op op) override;

 private:
  http::Download ask(http::Client& client, const std::string& url, const std::string& cookie,
                     Op op);
  std::string_view next_piece(Op op);
  std::string verify(const StreamCheck::Result& sums, Op op);

  std::shared_ptr<Lease> lease_;  // null after this source left it
  const std::string key_, what_;
  const uint64_t capacity_;
  HostSlots::Slot slot_;
  StreamCheck check_;
  std::unique_ptr<http::Download> download_;
  uint64_t received_ = 0;
  std::optional<std::chrono::steady_clock::time_point> silent_since_;  // the first of its stalls
  uint64_t received_then_ = 0;
  bool ended_ = false;
};

}  // namespace hyper::vsphere

#endif
