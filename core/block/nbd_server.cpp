// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_server.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "core/block/nbd_transmission.hpp"

namespace hyperhost {

NbdServer::NbdServer(Fd listener, std::vector<NbdExport> exports,
                     const std::shared_ptr<CancelSource>& cancel)
    : listener_(std::move(listener)),
      exports_(std::move(exports)),
      stop_(cancel->child()),
      acceptor_([this] { accept_clients(); }) {}

NbdServer::~NbdServer() {
  stop_->cancel();
  acceptor_.join();
  clients_.clear();  // joins them: no lock is held, and no one adds to it any more
}

void NbdServer::accept_clients() {
  while (!stop_->cancelled()) {
    pollfd ready[] = {{listener_.get(), POLLIN, 0}, {stop_->fd(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) break;
    if (ready[0].revents == 0) continue;
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid()) {
      admit(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      stop_->wait_for(std::chrono::milliseconds(100));  // what lacks comes back with time
    }
  }
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
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
