// SPDX-License-Identifier: Apache-2.0
// A disk as a plugin gets it (hyper/draft/block.h): a table over a BlockDevice. A plugin that wants
// a program to use the disk attaches it; the host then serves it over NBD on a Unix socket. Owned
// by the host, for one call into the plugin; its slots may be called from any thread.
#pragma once

#include <hyper/draft/block.h>

#include <memory>
#include <mutex>
#include <string>

#include "core/block/block_device.hpp"
#include "core/block/nbd_server.hpp"
#include "core/block/nbd_socket.hpp"

namespace hyperhost {

class BlockTable {
 public:
  /// id: "disk-0". An attached disk's socket is in the journal of `op`, and its clients are cut off
  /// when `op` is cancelled. user: of the plugin's process (Plugin::user()).
  BlockTable(std::string id, std::shared_ptr<BlockDevice> device, const Operation& op,
             std::optional<uid_t> user = std::nullopt);
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  /// Valid as long as this object.
  hyper_block table();

 private:
  void attach(int32_t how, const hyper::Emit& emit);
  void detach();

  const std::string id_;
  const std::shared_ptr<BlockDevice> device_;
  const std::shared_ptr<Journal> journal_;
  const std::shared_ptr<CancelSource> cancel_;
  const std::optional<uid_t> user_;
  std::mutex mutex_;  ///< of the following
  std::unique_ptr<NbdSocket> socket_;
  std::unique_ptr<NbdServer> server_;
};

}  // namespace hyperhost
