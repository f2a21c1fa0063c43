// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_socket.hpp"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

constexpr int kBacklog = 16;

/// As a URI's path or query may have it.
std::string percent(const std::string& text, const char* more) {
  std::string out;
  for (const char byte : text) {
    const auto value = static_cast<unsigned char>(byte);
    if ((value < 128 && std::isalnum(value) != 0) || std::strchr("-._~", byte) != nullptr ||
        std::strchr(more, byte) != nullptr) {
      out += byte;
    } else {
      static const char digits[] = "0123456789ABCDEF";
      out += {'%', digits[value >> 4], digits[value & 15]};
    }
  }
  return out;
}

}  // namespace

void NbdSocket::listen(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path.string();
  if (name.empty() || name.size() >= sizeof address.sun_path)
    throw Error(Code::kConfig,
                "the path of a socket has 1 to " + std::to_string(sizeof address.sun_path - 1) +
                    " bytes: " + name,
                "", "choose a shorter one");
  std::memcpy(address.sun_path, name.data(), name.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw errno_error(errno, "make a socket");
  // Linux gives the name the mode that the socket has before.
  if (::fchmod(socket.get(), 0600) != 0) throw errno_error(errno, "protect the socket " + name);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EADDRINUSE)
      throw Error(Code::kExists, "the socket " + name + " exists", "",
                  "if no server uses it, remove it; or choose another path");
    throw errno_error(errno, "make the socket " + name);
  }
  path_ = path;
  if (::listen(socket.get(), kBacklog) != 0) throw errno_error(errno, "listen on " + name);
  listener_ = std::move(socket);
}

std::unique_ptr<NbdSocket> NbdSocket::at(const std::filesystem::path& path) {
  std::unique_ptr<NbdSocket> out(new NbdSocket());
  out->listen(std::filesystem::absolute(path));
  return out;
}

std::unique_ptr<NbdSocket> NbdSocket::anywhere(std::shared_ptr<Journal> journal,
                                               std::optional<uid_t> user) {
  std::unique_ptr<NbdSocket> out(new NbdSocket());
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string name = "/hyperhost-nbd-XXXXXX";
  const bool usable = !user && runtime != nullptr && *runtime == '/' &&
                      std::strlen(runtime) + name.size() + 1 + std::strlen(kSocketName) <
                          sizeof sockaddr_un::sun_path &&
                      ::access(runtime, W_OK | X_OK) == 0;
  std::string directory = (usable ? runtime : "/tmp") + name;
  if (::mkdtemp(directory.data()) == nullptr)
    throw errno_error(errno, "make a directory for the socket: " + directory);
  out->directory_ = directory;
  out->entry_ =
      std::make_unique<HostEntry>(std::move(journal), kSocketEntry, directory, kSocketName);
  out->listen(std::filesystem::path(directory) / kSocketName);
  // The directory stays ours, so that its user cannot put anything else there.
  if (user && (::chmod(directory.c_str(), 0711) != 0 ||
               ::lchown(out->path_.c_str(), *user, static_cast<gid_t>(-1)) != 0))
    throw errno_error(errno, "give the socket in " + directory + " to the plugin's user");
  return out;
}

NbdSocket::~NbdSocket() {
  if (!path_.empty()) ::unlink(path_.c_str());
  if (!directory_.empty()) ::rmdir(directory_.c_str());
}

std::string NbdSocket::uri(const std::string& export_name) const {
  return "nbd+unix:///" + percent(export_name, "/") + "?socket=" + percent(path_.string(), "/");
}

std::string loopback_uri(uint16_t port, const std::string& export_name) {
  return "nbd://127.0.0.1:" + std::to_string(port) + "/" + percent(export_name, "/");
}

}  // namespace hyperhost
