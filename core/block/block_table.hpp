// SPDX-License-Identifier: Apache-2.0
// A disk as a plugin gets it (hyper/draft/block.h): a table over a BlockDevice. A plugin that wants
// a program to use the disk attaches it; the host then serves it over NBD. Owned
// by the host, for one call into the plugin; its slots may be called from any thread.
#pragma once

#include <hyper/draft/block.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/block/block_device.hpp"
#include "core/block/nbd_server.hpp"
#include "core/block/nbd_socket.hpp"

namespace hyperhost {

/// Where programs of a plugin can reach a disk that is attached.
struct BlockPlace {
  std::optional<uid_t> user = std::nullopt;  ///< Plugin::user()
  /// Plugin::listen(), if the plan allows a port of the loopback device; else null.
  std::function<Fd(uint16_t& port)> listen = nullptr;
};

class BlockTable {
 public:
  /// id: "disk-0". An attached disk's socket is in the journal of `op`, and its clients are cut off
  /// when `op` is cancelled. place: of the plugin's process.
  BlockTable(std::string id, std::shared_ptr<BlockDevice> device, const Operation& op,
             BlockPlace place = {});
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  /// Valid as long as this object.
  hyper_block table();

 private:
  void attach(int32_t how, const hyper::Emit& emit);
  void attach_unix(const hyper::Emit& emit);
  void attach_tcp(const hyper::Emit& emit);
  void detach();

  const std::string id_;
  const std::shared_ptr<BlockDevice> device_;
  const std::shared_ptr<Journal> journal_;
  const std::shared_ptr<CancelSource> cancel_;
  const BlockPlace place_;
  std::mutex mutex_;  ///< of the following
  std::unique_ptr<NbdSocket> socket_;
  std::unique_ptr<NbdServer> server_;
};

}  // namespace hyperhost
