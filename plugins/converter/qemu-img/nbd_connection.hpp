// SPDX-License-Identifier: Apache-2.0
// One connection to an NBD server on a Unix socket (libnbd). Every wait also ends on cancel, after
// which the connection is of no use any more. One thread at a time.
#ifndef HYPERHOST_QEMU_IMG_NBD_CONNECTION_HPP
#define HYPERHOST_QEMU_IMG_NBD_CONNECTION_HPP

#include <chrono>
#include <cstdint>
#include <functional>
#include <hyper/op.hpp>
#include <memory>
#include <string>

struct nbd_handle;

namespace hyperhost::qemu_img {

class NbdConnection {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  /// limit: when the server must have answered.
  NbdConnection(hyper::Op op, const std::string& socket, Instant limit = Instant::max());

  uint64_t size() const;
  void read(hyper::Op op, uint64_t offset, void* buf, uint64_t len);
  /// REQUIRES: len > 0. Extents from `offset` on, at least one, ascending and contiguous; perhaps
  /// less or more than len. flags: HYPER_EXTENT_….
  void extents(hyper::Op op, uint64_t offset, uint64_t len,
               const std::function<void(uint64_t length, uint32_t flags)>& found);

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };
  void drive(hyper::Op op, const std::function<bool()>& done, Instant limit = Instant::max());
  void finish(hyper::Op op, int64_t cookie, const char* doing);

  void read_blocks(hyper::Op op, uint64_t offset, char* to, uint64_t len);

  std::unique_ptr<nbd_handle, Close> handle_;
  uint64_t block_ = 1;  ///< the server's smallest request; offsets and lengths are multiples of it
};

}  // namespace hyperhost::qemu_img

#endif
