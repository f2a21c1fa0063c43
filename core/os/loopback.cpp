// SPDX-License-Identifier: Apache-2.0
#include "core/os/loopback.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

Fd listen_on_loopback(uint16_t& port) {
  constexpr int kBacklog = 16;
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw errno_error(errno, "make a socket");
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const std::string place = "127.0.0.1:" + std::to_string(port);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    throw errno_error(errno, "listen on " + place);
  socklen_t size = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw errno_error(errno, "listen on " + place);
  port = ntohs(address.sin_port);
  return socket;
}

}  // namespace hyperhost
