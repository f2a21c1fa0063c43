// SPDX-License-Identifier: Apache-2.0
// A qemu-nbd that serves one image, read-only, on a socket that it inherits (listener.hpp). The
// destructor ends it. One thread at a time.
#ifndef HYPERHOST_QEMU_IMG_NBD_SERVER_HPP
#define HYPERHOST_QEMU_IMG_NBD_SERVER_HPP

#include <hyper/op.hpp>
#include <memory>
#include <string>

#include "plugins/converter/qemu-img/listener.hpp"
#include "plugins/converter/qemu-img/nbd_connection.hpp"
#include "plugins/converter/qemu-img/tool.hpp"

namespace hyperhost::qemu_img {

class NbdServer {
 public:
  /// Starts it and waits until it serves a connection (at most 30 s, or until cancelled).
  NbdServer(hyper::Op op, std::unique_ptr<Listener> listener, const Tool& qemu_nbd,
            const std::string& spec, const std::string& shown);
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;
  ~NbdServer();

  std::string socket() const { return listener_->address(); }
  bool alive() const;
  /// The connection that was made to see that it serves; once.
  std::unique_ptr<NbdConnection> take_first() { return std::move(first_); }

 private:
  void connect(hyper::Op op, const std::string& shown);
  void end() noexcept;

  const std::unique_ptr<Listener> listener_;
  std::unique_ptr<NbdConnection> first_;
  uint64_t process_ = 0;
  bool started_ = false;
};

}  // namespace hyperhost::qemu_img

#endif
