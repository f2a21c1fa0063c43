// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/qmp.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace hyperhost::qemu_boot {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kAnswerMs = 60'000;            // a busy machine answers late
constexpr std::size_t kLongest = 32u << 20;  // of one message
constexpr std::size_t kMostEvents = 10'000;  // a guest that resets without a pause makes many

int left_ms(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

}  // namespace

Qmp::Qmp(hyper::Op op, Descriptor socket) : socket_(std::move(socket)) {
  const nlohmann::json greeting = message(op, kAnswerMs);
  if (!greeting.is_object() || !greeting.contains("QMP"))
    throw hyper::Error(HYPER_FAIL, "QEMU's monitor does not answer");
  call(op, "qmp_capabilities");
}

void Qmp::send(const std::string& text, int fd) {
  std::size_t sent = 0;
  while (sent < text.size()) {
    iovec part{const_cast<char*>(text.data()) + sent, text.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (fd >= 0 && sent == 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    const ssize_t got = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Ended{};
    sent += static_cast<std::size_t>(got);
  }
}

nlohmann::json Qmp::message(hyper::Op op, int wait_ms) {
  const auto end = Clock::now() + std::chrono::milliseconds(wait_ms);
  for (;;) {
    if (const std::size_t line = received_.find('\n'); line != std::string::npos) {
      auto parsed = nlohmann::json::parse(received_.substr(0, line), nullptr, false);
      received_.erase(0, line + 1);
      if (parsed.is_object()) return parsed;
      continue;
    }
    if (received_.size() > kLongest)
      throw hyper::Error(HYPER_FAIL, "QEMU's monitor answers without an end");
    pollfd wait_for[2] = {{socket_.get(), POLLIN, 0}, {op.cancel_fd(), POLLIN, 0}};
    const int ready = ::poll(wait_for, 2, left_ms(end));
    if (ready < 0 && errno != EINTR) throw hyper::errno_error(errno, "cannot wait for QEMU");
    op.check_cancelled();
    if (ready == 0) return nullptr;
    if (wait_for[0].revents == 0) continue;
    char buffer[64 * 1024];
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) throw Ended{};
    received_.append(buffer, static_cast<std::size_t>(got));
  }
}

nlohmann::json Qmp::call(hyper::Op op, const std::string& command, const nlohmann::json& arguments,
                         int fd) {
  const nlohmann::json request{{"execute", command}, {"arguments", arguments}};
  send(request.dump() + "\n", fd);
  const auto end = Clock::now() + std::chrono::milliseconds(kAnswerMs);
  for (;;) {
    nlohmann::json answer = message(op, left_ms(end));
    if (answer.is_null())
      throw hyper::Error(HYPER_FAIL, "QEMU did not answer '" + command + "' within a minute");
    if (answer.contains("return")) return answer["return"];
    if (const auto error = answer.find("error"); error != answer.end())
      throw hyper::Error(HYPER_FAIL, "QEMU refuses '" + command + "'",
                         error->is_object() ? error->value("desc", "") : "");
    if (answer.contains("event") && events_.size() < kMostEvents)
      events_.push_back(std::move(answer));
  }
}

std::string Qmp::human(hyper::Op op, const std::string& command) {
  const nlohmann::json answer = call(op, "human-monitor-command", {{"command-line", command}});
  return answer.is_string() ? answer.get<std::string>() : std::string();
}

std::vector<nlohmann::json> Qmp::events(hyper::Op op, int wait_ms) {
  if (events_.empty())
    if (nlohmann::json one = message(op, wait_ms); one.contains("event"))
      events_.push_back(std::move(one));
  return std::exchange(events_, {});
}

}  // namespace hyperhost::qemu_boot
