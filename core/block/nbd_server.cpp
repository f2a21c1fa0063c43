// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "core/base/text.hpp"
#include "core/block/nbd_transmission.hpp"

namespace hyperhost {
namespace {

constexpr std::size_t kLongestDescription = 256;  // what the protocol recommends

/// Their descriptions as the protocol's strings: UTF-8 without NUL. A VM's name may be anything.
std::vector<NbdExport> with_strings(std::vector<NbdExport> exports) {
  for (NbdExport& one : exports) {
    std::string& text = one.description;
    text.resize(std::min({text.size(), kLongestDescription, text.find('\0')}));
    text.resize(std::min(text.size(), find_invalid_utf8(text)));
  }
  return exports;
}

}  // namespace

NbdServer::NbdServer(Fd listener, std::vector<NbdExport> exports,
                     const std::shared_ptr<CancelSource>& cancel)
    : listener_(std::move(listener)),
      exports_(with_strings(std::move(exports))),
      shared_(std::all_of(exports_.begin(), exports_.end(),
                          [](const NbdExport& one) { return one.shared; })),
      stop_(cancel->child()),
      acceptor_([this] { accept_clients(); }) {}

NbdServer::~NbdServer() {
  stop_->cancel();
  // Who shares the socket may have taken a client away, and accept() waits for the next one.
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  clients_.clear();  // joins them: no lock is held, and no one adds to it any more
}

void NbdServer::accept_clients() {
  while (!stop_->cancelled()) {
    wait_for_turn();
    pollfd ready[] = {{listener_.get(), POLLIN, 0}, {stop_->fd(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR)
      stop_->wait_for(std::chrono::milliseconds(100));  // what lacks comes back with time
    if (ready[0].revents == 0) continue;
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid()) {
      const int yes = 1;  // the end of an answer waits for nothing; no matter to a Unix socket
      static_cast<void>(::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes));
      admit(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      stop_->wait_for(std::chrono::milliseconds(100));
    }
  }
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void NbdServer::wait_for_turn() {
  if (shared_) return;
  reap();
  std::unique_lock lock(mutex_);
  while (!stop_->cancelled() &&
         std::any_of(clients_.begin(), clients_.end(), [](const Client& one) { return !one.done; }))
    changed_.wait_for(lock, std::chrono::milliseconds(200));  // a cancel does not notify
}

void NbdServer::reap() {
  std::list<Client> ended;
  {
    const std::lock_guard lock(mutex_);
    for (auto one = clients_.begin(); one != clients_.end();) {
      const auto next = std::next(one);
      if (one->done) ended.splice(ended.end(), clients_, one);
      one = next;
    }
  }
}

void NbdServer::admit(Fd socket) {
  reap();
  const std::lock_guard lock(mutex_);
  if (clients_.size() >= kMostClients) {
    spdlog::debug("nbd: a client is turned away, there are {}", clients_.size());
    return;
  }
  Client& client = clients_.emplace_back();
  try {
    client.thread = std::jthread([this, &client, shared = std::make_shared<Fd>(std::move(socket))] {
      serve(std::move(*shared));
      const std::lock_guard inside(mutex_);
      client.done = true;
      changed_.notify_all();
    });
  } catch (const std::system_error& failure) {  // no thread is to be had
    spdlog::warn("nbd: a client is turned away: {}", failure.what());
    clients_.pop_back();
  }
}

void NbdServer::serve(Fd socket) {
  bool counted = false;
  try {
    NbdStream stream(std::move(socket), *stop_);
    stream.limit(std::chrono::steady_clock::now() + kHandshake);
    const NbdAgreement agreed = NbdHandshake(stream, exports_).run();
    stream.limit(std::nullopt);
    {
      const std::lock_guard lock(mutex_);
      ++active_;
      counted = served_ = true;
    }
    const std::string& name = agreed.chosen->description;
    NbdTransmission(stream, agreed, name.empty() ? agreed.chosen->name : name, stop_).run();
  } catch (const NbdEnd& end) {
    spdlog::debug("nbd: the connection ends: {}", end.why);
  } catch (const std::exception& failure) {
    spdlog::warn("nbd: the connection ends: {}", failure.what());
  }
  const std::lock_guard lock(mutex_);
  if (counted) --active_;
  changed_.notify_all();
}

void NbdServer::wait(bool once) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stop_->cancelled() || (once && served_ && active_ == 0); });
}

}  // namespace hyperhost
