// SPDX-License-Identifier: Apache-2.0
// The guest-visible bytes of an image, served by a qemu-nbd of its own. Up to max_parallel reads at
// once, each over a connection of a small pool. Owns the server and the connections.
#ifndef HYPERHOST_QEMU_IMG_NBD_SOURCE_HPP
#define HYPERHOST_QEMU_IMG_NBD_SOURCE_HPP

#include <hyper/source.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "plugins/converter/qemu-img/nbd_connection.hpp"
#include "plugins/converter/qemu-img/nbd_server.hpp"

namespace hyperhost::qemu_img {

class NbdSource final : public hyper::Source {
 public:
  /// virtual_size: as qemu-img sees it; a server that says otherwise is refused.
  NbdSource(hyper::Op op, std::unique_ptr<Listener> listener, const Tool& qemu_nbd,
            const std::string& spec, const std::string& shown, uint64_t virtual_size);

  hyper::SourceTraits traits() const override;
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override;
  void extents(hyper::Op op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override;

 private:
  /// Runs f with a connection; one that failed is not used again.
  template <class F>
  void with_connection(hyper::Op op, F&& f);

  NbdServer server_;
  uint64_t length_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<NbdConnection>> idle_;  // guarded by mutex_
};

}  // namespace hyperhost::qemu_img

#endif
