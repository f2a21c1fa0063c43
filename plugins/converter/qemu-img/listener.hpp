// SPDX-License-Identifier: Apache-2.0
// A listening Unix socket whose name is gone before a client is served: a kill leaves nothing
// behind. Connections go through its file's descriptor; its mode lets only this user in. Owned by
// its server; one thread at a time, address() any.
#ifndef HYPERHOST_QEMU_IMG_LISTENER_HPP
#define HYPERHOST_QEMU_IMG_LISTENER_HPP

#include <string>

namespace hyperhost::qemu_img {

class Listener {
 public:
  /// Needs a directory for temporary files (TMPDIR) that takes a socket; throws hyper::Error.
  Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  int socket() const { return socket_; }
  /// Once the server has inherited the socket: when it ends, its connections end, too.
  void close_socket() noexcept;
  /// What a client of this process connects to.
  std::string address() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int socket_ = -1, file_ = -1;
};

}  // namespace hyperhost::qemu_img

#endif
