// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/nbd_server.hpp"

#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

namespace hyperhost::qemu_img {
namespace {

constexpr std::chrono::seconds kStartLimit{30};
constexpr uint64_t kPollNs = 5'000'000;
constexpr std::size_t kSocketPathMax = sizeof(sockaddr_un::sun_path) - 1;
constexpr const char* kPattern = "hyperhost-nbd-XXXXXX";
constexpr const char* kName = "/nbd.sock";

std::string make_private_directory() {
  std::error_code error;
  std::string base = std::filesystem::temp_directory_path(error).string();
  if (error || base.size() + 1 + std::strlen(kPattern) + std::strlen(kName) > kSocketPathMax)
    base = "/tmp";
  std::string path = base + "/" + kPattern;
  if (::mkdtemp(path.data()) == nullptr)  // mode 0700
    throw hyper::errno_error(errno, "cannot make a temporary directory in \"" + base + "\"");
  return path;
}

}  // namespace

NbdServer::NbdServer(hyper::Op op, const Tool& qemu_nbd, const std::string& spec,
                     const std::string& shown)
    : directory_(make_private_directory()), socket_(directory_ + kName) {
  try {
    const std::string socket_option = "--socket=" + socket_;
    const char* const argv[] = {
        qemu_nbd.path().c_str(), "--read-only", "--persistent", "--shared=0",
        socket_option.c_str(),   "--",          spec.c_str(),   nullptr};
    hyper::check(spawner().start(op.raw(), 0, argv, &process_));
    started_ = true;
    wait_for_socket(op, shown);
  } catch (...) {
    end();
    throw;
  }
}

NbdServer::~NbdServer() {
  end();
}

void NbdServer::end() noexcept {
  if (started_) spawner().stop(process_);
  started_ = false;
  ::unlink(socket_.c_str());
  ::rmdir(directory_.c_str());
}

bool NbdServer::alive() const {
  return started_ && spawner().alive(process_) != 0;
}

void NbdServer::wait_for_socket(hyper::Op op, const std::string& shown) {
  const auto limit = std::chrono::steady_clock::now() + kStartLimit;
  for (;;) {
    if (::access(socket_.c_str(), F_OK) == 0) {
      try {
        first_ = std::make_unique<NbdConnection>(op, socket_);
        return;
      } catch (const hyper::Error&) {
        // The socket is there a moment before it listens; a server that ended is seen below.
      }
    }
    if (!alive())
      throw hyper::Error(HYPER_FAIL, "qemu-nbd ended before it served " + shown)
          .hint("its own words are in the log at level debug");
    if (std::chrono::steady_clock::now() > limit)
      throw hyper::Error(HYPER_FAIL, "qemu-nbd did not serve " + shown + " within 30 seconds")
          .retryable();
    op.sleep_ns(kPollNs);
  }
}

}  // namespace hyperhost::qemu_img
