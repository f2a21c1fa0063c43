// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_copy.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace hyperhost {

AuditCopy::AuditCopy(Format format, std::string socket_path)
    : format_(format), socket_path_(std::move(socket_path)) {}

bool AuditCopy::connect() {
  if (socket_) return true;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size());
  FileDescriptor made(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made ||
      ::connect(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return false;
  socket_ = std::move(made);
  return true;
}

void AuditCopy::send(std::string_view line) noexcept {
  try {
    std::string datagram;
    if (format_ == Format::kSyslog) {
      // RFC 3164 as /dev/log takes it; 85 = authpriv.notice.
      datagram = "<85>hyperhost[" + std::to_string(::getpid()) + "]: ";
      datagram += line;
    } else {
      datagram = "PRIORITY=5\nSYSLOG_IDENTIFIER=hyperhost\nSYSLOG_FACILITY=10\nMESSAGE=";
      datagram += line;
      datagram += "\n";
    }
    // Twice: the daemon may have been restarted since the last line.
    for (int attempt = 0; attempt < 2; ++attempt) {
      if (!connect()) break;
      if (::send(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return;
      socket_ = FileDescriptor();
    }
  } catch (const std::exception&) {
    // Out of memory: lost like any other.
  }
  ++lost_;
}

}  // namespace hyperhost
