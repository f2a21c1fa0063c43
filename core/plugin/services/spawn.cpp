// SPDX-License-Identifier: Apache-2.0
// The host extension "hyper.spawn/1" (sdk/include/hyper/host.h) over ChildProcess.
#include <spdlog/spdlog.h>

#include <hyper/draft/listener.h>
#include <poll.h>

#include <map>
#include <thread>

#include "core/base/redactor.hpp"
#include "core/os/child_process.hpp"
#include "core/plugin/operation.hpp"
#include "core/plugin/services/listener.hpp"

namespace hyperhost {
namespace {

template <class F>
hyper_st guarded(hyper_op* op, F&& f) noexcept {
  try {
    return f();
  } catch (const Error& error) {
    return report_to(op, error.diagnostic());
  } catch (const std::exception&) {
    return HYPER_FAIL;
  }
}

std::vector<std::string> arguments(const char* const* argv) {
  std::vector<std::string> out;
  for (; argv != nullptr && *argv != nullptr; ++argv) out.emplace_back(*argv);
  return out;
}

void refuse(uint32_t flags) {
  if (flags != 0) throw Error(Code::kUnsupported, "starting a program knows no flags");
}

hyper_st run(hyper_op* op, uint32_t flags, const char* const* argv, hyper_on_line on_line,
             void* arg, int32_t* exit_status) noexcept {
  return guarded(op, [&]() -> hyper_st {
    refuse(flags);
    ChildProcess child(arguments(argv));
    const int cancel_fd = op == nullptr ? -1 : static_cast<Operation*>(op)->cancel().fd();
    const bool finished = read_lines(child, cancel_fd, [&](int stream, const std::string& line) {
      if (on_line != nullptr) on_line(arg, stream, line.data(), line.size());
    });
    if (!finished) return HYPER_CANCELLED;
    const int status = child.wait();
    if (exit_status != nullptr) *exit_status = status;
    return HYPER_OK;
  });
}

/// A child that runs beside the host, with a thread that drains its output into the log.
struct Running {
  Running(const std::vector<std::string>& argv, int listening) : child(argv, -1, {}, listening) {
    reader = std::jthread([this, name = argv[0]](const std::stop_token&) {
      read_lines(child, quit->fd(), [&](int, const std::string& line) {
        spdlog::debug("{}: {}", name, Redactor::global().redact(line));
      });
    });
  }
  ~Running() {
    quit->cancel();  // the reader stops the child
    reader.join();
  }
  std::shared_ptr<CancelSource> quit = CancelSource::create();
  ChildProcess child;
  std::jthread reader;
};

std::mutex running_mutex;
std::map<uint64_t, std::unique_ptr<Running>> running;

hyper_st start_listening(hyper_op* op, uint32_t flags, const char* const* argv, int32_t socket,
                         uint64_t* process) noexcept {
  return guarded(op, [&]() -> hyper_st {
    refuse(flags);
    auto made = std::make_unique<Running>(arguments(argv), socket);
    static uint64_t next = 1;
    const std::lock_guard lock(running_mutex);
    *process = next++;
    running[*process] = std::move(made);
    return HYPER_OK;
  });
}

hyper_st start(hyper_op* op, uint32_t flags, const char* const* argv, uint64_t* process) noexcept {
  return start_listening(op, flags, argv, -1, process);
}

int32_t alive(uint64_t process) noexcept {
  const std::lock_guard lock(running_mutex);
  const auto found = running.find(process);
  // The reader thread reaps the child. A readable pid descriptor means that the child has ended.
  if (found == running.end()) return 0;
  pollfd wait_for{found->second->child.pid_fd(), POLLIN, 0};
  return ::poll(&wait_for, 1, 0) == 0 ? 1 : 0;
}

void stop(uint64_t process) noexcept {
  std::unique_ptr<Running> ended;
  const std::lock_guard lock(running_mutex);
  const auto found = running.find(process);
  if (found == running.end()) return;
  ended = std::move(found->second);
  running.erase(found);
}

}  // namespace

const void* listener_table() {
  static const hyper_listener table = {sizeof(hyper_listener), 0, start_listening};
  return &table;
}

const hyper_spawn* spawn_table() {
  static const hyper_spawn table = {sizeof(hyper_spawn), 0, run, start, alive, stop};
  return &table;
}

}  // namespace hyperhost
