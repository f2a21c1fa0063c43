// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/nbd_server.hpp"

#include <hyper/draft/listener.h>
#include <chrono>

namespace hyperhost::qemu_img {
namespace {

constexpr std::chrono::seconds kStartLimit{30};
constexpr int kEndPolls = 200;  // for its end to be seen
constexpr uint64_t kPollNs = 5'000'000;

const hyper_listener& starter() {
  const auto* table = hyper::extension<hyper_listener>(HYPER_EXT_LISTENER);
  if (table == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host passes no socket to a program (no " HYPER_EXT_LISTENER ")");
  return *table;
}

}  // namespace

NbdServer::NbdServer(hyper::Op op, std::unique_ptr<Listener> listener, const Tool& qemu_nbd,
                     const std::string& spec, const std::string& shown)
    : listener_(std::move(listener)) {
  const char* const argv[] = {qemu_nbd.path().c_str(),
                              "--read-only",
                              "--persistent",
                              "--shared=0",
                              "--",
                              spec.c_str(),
                              nullptr};
  hyper::check(starter().start(op.raw(), 0, argv, listener_->socket(), &process_));
  started_ = true;
  listener_->close_socket();
  try {
    connect(op, shown);
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
}

bool NbdServer::alive() const {
  return started_ && spawner().alive(process_) != 0;
}

/// The image was examined before, so a server that ends at once was killed, or ran out of memory.
void NbdServer::connect(hyper::Op op, const std::string& shown) {
  try {
    first_ = std::make_unique<NbdConnection>(op, socket(),
                                             std::chrono::steady_clock::now() + kStartLimit);
  } catch (const hyper::Error&) {
    for (int i = 0; alive() && i < kEndPolls; ++i) op.sleep_ns(kPollNs);
    if (alive()) throw;
    throw hyper::Error(HYPER_FAIL, "qemu-nbd ended before it served " + shown)
        .hint("its own words are in the log at level debug")
        .retryable();
  }
}

}  // namespace hyperhost::qemu_img
