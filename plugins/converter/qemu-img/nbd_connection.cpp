// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/nbd_connection.hpp"

#include <libnbd.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "plugins/converter/qemu-img/tool.hpp"

namespace hyperhost::qemu_img {
namespace {

constexpr uint64_t kLargestRead = 16u << 20;
constexpr int kPollMs = 100;
constexpr uint64_t kLargestStatus = 1u << 30;  // the protocol has 32 bits

hyper::Error nbd_error(const std::string& doing) {
  const char* text = nbd_get_error();
  const int code = nbd_get_errno();
  hyper::Error error(HYPER_IO, doing + " through qemu-nbd failed", text != nullptr ? text : "");
  error.native(code);
  // Not the image's fault but the server's: it ended or was killed.
  if (code == ENOTCONN || code == ECONNRESET || code == EPIPE || code == ESHUTDOWN)
    error.retryable();
  return error;
}

struct Found {
  const std::function<void(uint64_t, uint32_t)>& found;
  bool any = false;
  std::exception_ptr error;
};

int take_extents(void* arg, const char* context, uint64_t, uint32_t* entries, std::size_t count,
                 int*) noexcept {
  auto& self = *static_cast<Found*>(arg);
  if (std::string_view(context) != LIBNBD_CONTEXT_BASE_ALLOCATION) return 0;
  try {
    for (std::size_t i = 0; i + 1 < count; i += 2) {  // pairs of length and flags
      // A hole that is not known to read as zeros is data to us.
      uint32_t flags = 0;
      if ((entries[i + 1] & LIBNBD_STATE_ZERO) != 0) {
        flags = HYPER_EXTENT_ZERO;
        if ((entries[i + 1] & LIBNBD_STATE_HOLE) != 0) flags |= HYPER_EXTENT_HOLE;
      }
      self.any = true;
      self.found(entries[i], flags);
    }
  } catch (...) {
    self.error = std::current_exception();
  }
  return 0;
}

}  // namespace

void NbdConnection::Close::operator()(nbd_handle* handle) const {
  nbd_close(handle);
}

NbdConnection::NbdConnection(hyper::Op op, const std::string& socket, Instant limit)
    : handle_(nbd_create()) {
  nbd_handle* nbd = handle_.get();
  if (nbd == nullptr) throw nbd_error("connecting");
  if (nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      nbd_aio_connect_unix(nbd, socket.c_str()) != 0)
    throw nbd_error("connecting");
  drive(
      op, [&] { return nbd_aio_is_ready(nbd) == 1; }, limit);
  const int64_t block = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
  block_ = block > 0 ? static_cast<uint64_t>(block) : 1;
}

uint64_t NbdConnection::size() const {
  const int64_t size = nbd_get_size(handle_.get());
  if (size < 0) throw nbd_error("asking for the size");
  return static_cast<uint64_t>(size);
}

void NbdConnection::drive(hyper::Op op, const std::function<bool()>& done, Instant limit) {
  nbd_handle* nbd = handle_.get();
  while (!done()) {
    op.check_cancelled();
    if (nbd_aio_is_dead(nbd) == 1 || nbd_aio_is_closed(nbd) == 1)
      throw hyper::Error(HYPER_IO, "qemu-nbd ended or closed the connection").retryable();
    const unsigned direction = nbd_aio_get_direction(nbd);
    pollfd waits[2] = {{nbd_aio_get_fd(nbd), 0, 0}, {op.cancel_fd(), POLLIN, 0}};
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) waits[0].events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) waits[0].events |= POLLOUT;
    const bool limited = limit != Instant::max();
    if (limited && std::chrono::steady_clock::now() > limit)
      throw hyper::Error(HYPER_IO, "qemu-nbd did not answer in time").retryable();
    if (::poll(waits, 2, limited ? kPollMs : -1) < 0) {
      if (errno == EINTR) continue;
      throw hyper::errno_error(errno, "waiting for qemu-nbd failed");
    }
    const auto ready = [&](int events) { return (waits[0].revents & events) != 0; };
    // A failed notify shows up as a dead connection or a failed command; both are looked at.
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && ready(POLLIN | POLLHUP | POLLERR))
      static_cast<void>(nbd_aio_notify_read(nbd));
    else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 && ready(POLLOUT | POLLHUP | POLLERR))
      static_cast<void>(nbd_aio_notify_write(nbd));
    else if (ready(POLLHUP | POLLERR | POLLNVAL))
      throw hyper::Error(HYPER_IO, "qemu-nbd closed the connection").retryable();
  }
}

void NbdConnection::finish(hyper::Op op, int64_t cookie, const char* doing) {
  if (cookie < 0) throw nbd_error(doing);
  int state = 0;
  drive(op, [&] {
    state = nbd_aio_command_completed(handle_.get(), static_cast<uint64_t>(cookie));
    return state != 0;
  });
  if (state < 0) throw nbd_error(doing);
}

void NbdConnection::read_blocks(hyper::Op op, uint64_t offset, char* to, uint64_t len) {
  while (len > 0) {
    const uint64_t now = std::min(len, kLargestRead);
    finish(op,
           nbd_aio_pread(handle_.get(), to, static_cast<std::size_t>(now), offset,
                         NBD_NULL_COMPLETION, 0),
           "reading");
    to += now;
    offset += now;
    len -= now;
  }
}

void NbdConnection::read(hyper::Op op, uint64_t offset, void* buf, uint64_t len) {
  auto* to = static_cast<char*>(buf);
  std::vector<char> block(static_cast<std::size_t>(block_));
  while (len > 0) {
    const uint64_t into = offset % block_;
    uint64_t now = len - len % block_;
    if (into != 0 || now == 0) {  // part of a block: by way of a whole one
      now = std::min(len, block_ - into);
      read_blocks(op, offset - into, block.data(), block_);
      std::copy_n(block.data() + into, now, to);
    } else {
      read_blocks(op, offset, to, now);
    }
    to += now;
    offset += now;
    len -= now;
  }
}

void NbdConnection::extents(hyper::Op op, uint64_t offset, uint64_t len,
                            const std::function<void(uint64_t, uint32_t)>& found) {
  if (nbd_can_meta_context(handle_.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    return found(len, 0);  // a server that cannot say: all data
  uint64_t skip = offset % block_;
  const std::function<void(uint64_t, uint32_t)> behind_skip = [&](uint64_t length, uint32_t flags) {
    const uint64_t skipped = std::min(skip, length);
    skip -= skipped;
    if (length > skipped) found(length - skipped, flags);
  };
  const uint64_t rest = (offset + len) % block_;
  const uint64_t asked = std::min(skip + len + (rest == 0 ? 0 : block_ - rest), kLargestStatus);
  Found self{behind_skip, false, nullptr};
  finish(op,
         nbd_aio_block_status(handle_.get(), asked, offset - skip,
                              {.callback = take_extents, .user_data = &self, .free = nullptr},
                              NBD_NULL_COMPLETION, 0),
         "asking for extents");
  if (self.error) std::rethrow_exception(self.error);
  if (!self.any) throw hyper::Error(HYPER_IO, "qemu-nbd reported no extents");
}

}  // namespace hyperhost::qemu_img
