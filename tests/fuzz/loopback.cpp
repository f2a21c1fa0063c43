// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loopback.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "tests/fuzz/fuzz.hpp"

namespace {

bool leaves_this_machine(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const uint32_t to = ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
    return to >> 24 != IN_LOOPBACKNET;
  }
  return address->sa_family == AF_INET6 &&
         !IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

}  // namespace

/// In place of libc's, for all libraries of the process: no input leads out of this machine, be it
/// by an address in an answer or by a proxy of the environment.
extern "C" int connect(int fd, const sockaddr* address, socklen_t length) {
  if (leaves_this_machine(address)) fuzz::fail("a connection that leaves this machine");
  return static_cast<int>(::syscall(SYS_connect, fd, address, length));
}

namespace fuzz {
namespace {

/// Whether a whole request came: its header, and the body that it announces.
bool complete(const std::string& request) {
  const std::size_t end = request.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  const std::size_t field = request.find("Content-Length: ");
  std::size_t body = 0;
  if (field < end) std::from_chars(request.data() + field + 16, request.data() + end, body);
  return request.size() - end - 4 >= body;
}

}  // namespace

LoopbackServer::LoopbackServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    fail("no server on loopback");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

LoopbackServer::~LoopbackServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
}

LoopbackServer& LoopbackServer::instance() {
  static LoopbackServer server;
  return server;
}

hyper::http::Settings LoopbackServer::settings() const {
  hyper::http::Settings settings;
  settings.proxy = url();
  settings.connect_timeout = std::chrono::seconds(5);
  settings.stall_timeout = std::chrono::seconds(5);
  return settings;
}

void LoopbackServer::answer_with(std::string_view input) {
  std::vector<std::string> answers = parts_of(input, "%%");
  const std::lock_guard lock(mutex_);
  answers_ = std::move(answers);
  next_ = 0;
}

std::string LoopbackServer::next_answer(bool head) {
  const std::lock_guard lock(mutex_);
  if (next_ >= answers_.size()) return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  const std::string_view answer = answers_[next_++];
  const std::size_t end = std::min(answer.find("\n\n"), answer.size());
  std::string_view front = answer.substr(0, end);
  const std::string_view body = answer.substr(std::min(end + 2, answer.size()));
  unsigned status = 200;
  std::from_chars(front.data(), front.data() + std::min<std::size_t>(3, front.size()), status);
  if (status < 200 || status == 503) status = 500;  // 503 is waited for
  front.remove_prefix(std::min(front.find('\n'), front.size()));
  std::string out = "HTTP/1.1 " + std::to_string(status) + " Status";
  for (const char c : front) out += c == '\n' ? std::string("\r\n") : std::string(1, c);
  if (!head) out += "\r\nContent-Length: " + std::to_string(body.size());
  out += "\r\n\r\n";
  if (!head) out += body;
  return out;
}

void LoopbackServer::serve() {
  while (!stopping_) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    std::string request;
    char bytes[4096];
    while (!complete(request)) {
      const ssize_t got = ::recv(connection, bytes, sizeof bytes, 0);
      if (got <= 0) break;
      request.append(bytes, static_cast<std::size_t>(got));
    }
    if (complete(request)) {
      const std::string answer = next_answer(request.rfind("HEAD ", 0) == 0);
      ::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
    ::shutdown(connection, SHUT_WR);
    ::close(connection);
  }
}

}  // namespace fuzz
