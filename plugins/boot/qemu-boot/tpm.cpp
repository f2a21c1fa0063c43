// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/tpm.hpp"

#include <hyper/draft/listener.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "plugins/boot/qemu-boot/descriptor.hpp"

namespace hyperhost::qemu_boot {
namespace {

/// A socket that takes connections at the path.
Descriptor listening(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw hyper::Error(HYPER_FAIL, "the path of the TPM's socket is too long", path)
        .hint("set TMPDIR to a shorter path");
  std::memcpy(address.sun_path, path.data(), path.size());
  Descriptor out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (out.get() < 0 ||
      ::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(out.get(), 1) != 0)
    throw hyper::errno_error(errno, "the TPM's socket cannot be made");
  return out;
}

}  // namespace

Tpm::Tpm(hyper::Op op, const std::string& program) : socket_(directory_.path() + "/socket") {
  const auto* listener = hyper::extension<hyper_listener>(HYPER_EXT_LISTENER);
  if (listener == nullptr || hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN) == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host passes no sockets to programs (no " HYPER_EXT_LISTENER ")");
  const Descriptor socket = listening(socket_);
  const std::string state = "dir=" + directory_.path() + ",mode=0600";
  const char* const argv[] = {program.c_str(),    "socket",      "--tpm2",
                              "--tpmstate",       state.c_str(), "--ctrl",
                              "type=unixio,fd=3", "--flags",     "not-need-init,startup-clear",
                              "--terminate",      nullptr};
  hyper::check(listener->start(op.raw(), 0, argv, socket.get(), &process_));
}

Tpm::~Tpm() {
  hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN)->stop(process_);
}

}  // namespace hyperhost::qemu_boot
