// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/listener.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <hyper/op.hpp>
#include <random>

namespace hyperhost::qemu_img {
namespace {

constexpr int kBacklog = 16;
constexpr int kTries = 16;  // at a name that is free

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string random_name() {
  static const char digits[] = "0123456789abcdef";
  std::random_device random;
  std::string name = "hyperhost-nbd-";
  for (int i = 0; i < 16; ++i) name += digits[random() & 15];
  return name;
}

/// Binds by way of the directory's descriptor: the path of a socket has at most 107 bytes.
bool bind_in(int directory, const std::string& name, int socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof address.sun_path - 1));
  return ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Listener::Listener() {
  std::error_code failed;
  const std::string base = std::filesystem::temp_directory_path(failed).string();
  const auto refuse = [&](int reason) {
    return hyper::errno_error(reason, "cannot make a socket in \"" + base + "\"")
        .hint("set TMPDIR to a directory that can be written to");
  };
  if (failed) throw refuse(failed.value());
  const Descriptor directory(::open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) throw refuse(errno);
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) throw refuse(errno);
  ::fchmod(socket.get(), 0600);  // the mode that its file gets
  std::string name = random_name();
  for (int i = 1; !bind_in(directory.get(), name, socket.get()); ++i) {
    if (errno != EADDRINUSE || i == kTries) throw refuse(errno);
    name = random_name();
  }
  Descriptor file(::openat(directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const int reason = errno;
  ::unlinkat(directory.get(), name.c_str(), 0);
  if (file.get() < 0) throw refuse(reason);
  if (::listen(socket.get(), kBacklog) != 0) throw refuse(errno);
  socket_ = socket.release();
  file_ = file.release();
}

Listener::~Listener() {
  close_socket();
  ::close(file_);
}

void Listener::close_socket() noexcept {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

}  // namespace hyperhost::qemu_img
