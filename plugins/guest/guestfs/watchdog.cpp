// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/watchdog.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace hyperhost::guestfs {
namespace {

using Clock = std::chrono::steady_clock;

/// "" where the process has ended meanwhile.
std::string file_text(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  char block[4096];
  for (ssize_t length = 0; (length = ::read(fd, block, sizeof block)) > 0;)
    text.append(block, static_cast<std::size_t>(length));
  ::close(fd);
  return text;
}

/// "PID (NAME) S PPID …": the name may hold anything.
pid_t parent_of(const std::string& stat) {
  const std::size_t close = stat.rfind(')');
  return close == std::string::npos || close + 4 >= stat.size()
             ? 0
             : static_cast<pid_t>(std::strtol(stat.c_str() + close + 4, nullptr, 10));
}

/// Sends a signal to our children whose command line has one of the marks; 0 = none. Returns
/// whether there is one.
bool signal_marked(const std::vector<std::string>& marks, int signal) {
  bool found = false;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return false;
  while (const dirent* entry = ::readdir(directory)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 1) continue;
    const std::string place = "/proc/" + std::string(entry->d_name);
    if (parent_of(file_text(place + "/stat")) != ::getpid()) continue;
    const std::string command = file_text(place + "/cmdline");
    if (command.find("org.libguestfs.channel") == std::string::npos) continue;  // not an appliance
    if (std::any_of(marks.begin(), marks.end(), [&](const std::string& mark) {
          return command.find(mark) != std::string::npos;
        })) {
      found = true;
      ::kill(pid, signal);
    }
  }
  ::closedir(directory);
  return found;
}

}  // namespace

Watchdog::Watchdog(hyper::Op op, std::vector<std::string> marks, std::chrono::seconds timeout)
    : op_(op),
      marks_(std::move(marks)),
      end_(Clock::now() + timeout),
      thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_all();
  thread_.join();
}

void Watchdog::expect_life(std::chrono::seconds limit) {
  alive();
  limit_ = std::chrono::duration_cast<Clock::duration>(limit).count();
}

Watchdog::Reason Watchdog::due() const {
  if (op_.cancelled()) return Reason::kCancelled;
  const Clock::time_point now = Clock::now();
  if (now > end_) return Reason::kTimeout;
  const Clock::rep limit = limit_;
  return limit > 0 && now.time_since_epoch().count() - last_life_ > limit ? Reason::kStalled
                                                                          : Reason::kNone;
}

void Watchdog::watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (unsigned turn = 0;
       !stopping_.wait_for(lock, std::chrono::milliseconds(500), [&] { return stop_; }); ++turn) {
    // The guest's own programs may run for many minutes. The host kills a plugin that is silent.
    if (turn % 20 == 0) op_.progress(0, 0, "working");
    // Before QEMU starts, the appliance is built, which may take minutes without a word.
    if (limit_ > 0 && !signal_marked(marks_, 0)) alive();
    const Reason reason = due();
    if (reason == Reason::kNone) continue;
    reason_ = reason;
    if (reason == Reason::kStalled) limit_ = 0;  // once: the next start has its own limit
    signal_marked(marks_, SIGKILL);              // again each time: a start may be on its way
  }
}

}  // namespace hyperhost::guestfs
