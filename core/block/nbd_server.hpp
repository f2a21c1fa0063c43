// SPDX-License-Identifier: Apache-2.0
// Serves disks over NBD to any client: qemu, libnbd's tools, nbd-client. Fixed newstyle, structured
// replies, base:allocation; no TRIM and no TLS. Each connection has a thread and 1 MiB of memory.
// Its functions may be called from any thread.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/cancel.hpp"
#include "core/block/nbd_handshake.hpp"
#include "core/os/fd.hpp"

namespace hyperhost {

class NbdServer {
 public:
  static constexpr unsigned kMostClients = 16;  ///< further ones are turned away
  static constexpr std::chrono::seconds kHandshake{60};

  /// Accepts clients of `listener` until it is destroyed or `cancel` is cancelled; both end all
  /// connections at once. Where an export is not shared, a client waits for the end of the one
  /// before it.
  NbdServer(Fd listener, std::vector<NbdExport> exports,
            const std::shared_ptr<CancelSource>& cancel);
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  /// Waits until it is cancelled; if `once`, at most until no client is left after the first one.
  void wait(bool once);

 private:
  struct Client {
    bool done = false;  ///< guarded by mutex_
    std::jthread thread;
  };
  void accept_clients();
  void admit(Fd socket);
  void wait_for_turn();
  void serve(Fd socket);
  void reap();

  const Fd listener_;
  const std::vector<NbdExport> exports_;
  const bool shared_;
  const std::shared_ptr<CancelSource> stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Client> clients_;
  unsigned active_ = 0;  ///< clients that have chosen an export
  bool served_ = false;
  std::jthread acceptor_;
};

}  // namespace hyperhost
