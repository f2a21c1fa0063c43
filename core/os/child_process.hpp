// SPDX-License-Identifier: Apache-2.0
// Child processes: started without a shell, with only descriptors 0–2, killed when the host dies
// (also by kill -9) and reaped by their owner. A ChildProcess belongs to one thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "core/os/fd.hpp"

namespace hyperhost {

/// "NAME=value" of the host's variables that a child gets: where programs, libraries and files are
/// found, language and time zone, hyperhost's own (HYPERHOST_*), and those that `more` names
/// ("NAME" or "PREFIX_*"; "*" is all). LC_ALL is C. A variable whose value is a known secret stays
/// out unless `more` names it in full.
std::vector<std::string> child_environment(const std::vector<std::string>& more);

class ChildProcess {
 public:
  /// argv[0] is searched in PATH. Environment: child_environment(more). stdin_fd becomes its
  /// standard input; -1 = /dev/null. listen_fd, a listening socket, becomes its descriptor 3 by
  /// systemd's protocol (LISTEN_FDS); -1 = none. Throws Error(kNotFound) if there is no such
  /// program.
  explicit ChildProcess(const std::vector<std::string>& argv, int stdin_fd = -1,
                        const std::vector<std::string>& more = {}, int listen_fd = -1);
  /// Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  int pid() const { return pid_; }
  int stdout_fd() const { return stdout_.get(); }
  int stderr_fd() const { return stderr_.get(); }
  /// Readable when it has ended.
  int pid_fd() const { return pid_fd_.get(); }

  bool running();
  /// Blocks. Its exit status, or -N for signal N.
  int wait();
  /// SIGTERM, after `grace` SIGKILL; returns when it is gone.
  void stop(std::chrono::milliseconds grace);

 private:
  int pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  Fd stdout_, stderr_, pid_fd_;
};

/// Reads both pipes until both end, the child included, calling on_line(stream 1|2, line) for each
/// line (\n or \r ends one; at most 64 KiB, the rest of a longer one is dropped). Stops the child
/// when `cancel_fd` becomes readable. Returns false if it was cancelled.
bool read_lines(ChildProcess& child, int cancel_fd,
                const std::function<void(int stream, const std::string& line)>& on_line);

}  // namespace hyperhost
