// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace hyperhost {

void NbdStream::wait(short events) {
  for (;;) {
    int timeout = -1;
    if (deadline_) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          *deadline_ - std::chrono::steady_clock::now());
      if (left.count() <= 0) throw NbdEnd{"it took too long"};
      timeout = static_cast<int>(std::min<int64_t>(left.count() + 1, 1000 * 3600));
    }
    pollfd ready[] = {{socket_.get(), events, 0}, {stop_.fd(), POLLIN, 0}};
    const int got = ::poll(ready, 2, timeout);
    if (got < 0 && errno != EINTR) throw NbdEnd{std::strerror(errno)};
    if (stop_.cancelled()) throw NbdEnd{"the server stops"};
    if (got > 0 && ready[0].revents != 0) return;
  }
}

void NbdStream::read(void* buffer, std::size_t size) {
  auto* out = static_cast<char*>(buffer);
  while (size > 0) {
    const ssize_t got = ::recv(socket_.get(), out, size, MSG_DONTWAIT);
    if (got == 0) throw NbdEnd{"the client left"};
    if (got > 0) {
      out += got;
      size -= static_cast<std::size_t>(got);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLIN);
    } else if (errno != EINTR) {
      throw NbdEnd{std::strerror(errno)};
    }
  }
}

void NbdStream::write(const void* bytes, std::size_t size) {
  const auto* in = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = ::send(socket_.get(), in, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) {
      in += put;
      size -= static_cast<std::size_t>(put);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLOUT);
    } else if (errno != EINTR) {
      throw NbdEnd{std::strerror(errno)};
    }
  }
}

namespace {

template <class Number>
Number read_number(NbdStream& from) {
  unsigned char bytes[sizeof(Number)];
  from.read(bytes, sizeof bytes);
  uint64_t value = 0;
  for (const unsigned char byte : bytes) value = value << 8 | byte;
  return static_cast<Number>(value);
}

}  // namespace

uint16_t NbdStream::read16() {
  return read_number<uint16_t>(*this);
}
uint32_t NbdStream::read32() {
  return read_number<uint32_t>(*this);
}
uint64_t NbdStream::read64() {
  return read_number<uint64_t>(*this);
}

}  // namespace hyperhost
