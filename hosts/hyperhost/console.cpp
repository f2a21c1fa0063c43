// SPDX-License-Identifier: Apache-2.0
//
// The cursor rests at the end of the last live line. A new frame goes back to the first one and
// overwrites: in place and in a single write, so that nothing is ever seen empty. No mode of the
// terminal is changed, so there is none to restore whatever ends the process. On a narrower window
// the terminal has broken the old lines into more rows: they are counted at the new width.
//
// While a window is dragged, tmux breaks the lines at once and reports the new size up to 250 ms
// later. A frame drawn in between would count too few rows, and the rows above it would stay on the
// screen for good. So nothing is written from the moment a new size is seen until the size has not
// changed for a second. The lines that scroll by wait in the queue meanwhile.
#include "hosts/hyperhost/console.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kQueueLimit = 4096;
constexpr std::chrono::milliseconds kFrame{100};
constexpr std::chrono::seconds kDrain{2};
constexpr std::chrono::seconds kSettle{1};
// What poll() promises to take without blocking (POSIX: _POSIX_PIPE_BUF is less; Linux: a page).
constexpr std::size_t kChunk = 4096;

// Set when the process was stopped and goes on: the shell has written below the live lines.
std::atomic<bool> continued{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// Columns of a live line, its colours left out.
std::size_t live_width(const std::string& line) {
  std::string plain;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\x1b') {
      plain += line[i];
      continue;
    }
    while (i < line.size() && line[i] != 'm') ++i;
  }
  return display_width(plain);
}

}  // namespace

Console::Console(int fd, Paint paint) : fd_(fd), paint_(std::move(paint)) {
  if (paint_) ::signal(SIGCONT, [](int) { continued = true; });
  seen_ = size();
  thread_ = std::jthread([this] { run(); });
}

Console::~Console() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    deadline_ = Clock::now() + kDrain;
  }
  wake_.notify_all();
  thread_.join();
  if (paint_) ::signal(SIGCONT, SIG_DFL);
}

void Console::print(std::string line) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(line));
    if (queue_.size() > kQueueLimit) {
      queue_.pop_front();
      ++dropped_;
    }
  }
  wake_.notify_one();
}

/// False when this is the last time.
bool Console::wait_for_work() {
  std::unique_lock lock(mutex_);
  if (!paint_) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    return !stop_;
  }
  bool resized = being_resized();
  do wake_.wait_for(lock, kFrame, [&] { return stop_ || (!resized && !queue_.empty()); });
  while (!stop_ && (resized = being_resized()));
  return !stop_;
}

bool Console::being_resized() {
  const TerminalSize now = size();
  if (now != seen_) settled_ = Clock::now() + kSettle;
  seen_ = now;
  return Clock::now() < settled_;
}

void Console::run() {
  for (bool more = true; more;) {
    more = wait_for_work();
    try {
      draw(!more);
    } catch (const std::exception&) {
      drawn_.clear();  // out of memory: a frame less
    }
  }
}

std::string Console::to_first_row(TerminalSize size) const {
  if (drawn_.empty()) return {};
  std::size_t rows = 0;
  for (const std::string& line : drawn_)
    rows += std::max<std::size_t>(1, (live_width(line) + size.columns - 1) / size.columns);
  rows = std::min<std::size_t>(rows, size.rows);
  return rows > 1 ? "\r\x1b[" + std::to_string(rows - 1) + "A" : "\r";
}

/// What waits to scroll by.
std::string Console::take_lines() {
  const std::lock_guard lock(mutex_);
  std::string log;
  if (dropped_ > 0) log = "(" + std::to_string(dropped_) + " lines were not taken in time)\n";
  for (const std::string& line : queue_) log += line + "\n";
  dropped_ = 0;
  queue_.clear();
  return log;
}

void Console::draw(bool last) {
  if (!paint_ || !in_foreground()) return write(take_lines());
  const TerminalSize now = size();
  std::vector<std::string> view;
  if (!last) view = paint_(now);
  if (!last && size() != seen_) return;  // painted for a window that is another by now
  const std::string log = take_lines();
  if (continued.exchange(false)) drawn_.clear();
  if (log.empty() && view == drawn_) return;
  std::string out = to_first_row(now);
  // What scrolls by may be wider than the window, so the room for it is made first.
  if (!log.empty()) out += "\x1b[J" + log;
  for (std::size_t i = 0; i < view.size(); ++i) out += (i == 0 ? "" : "\n") + view[i] + "\x1b[K";
  if (log.empty()) out += "\x1b[J";
  drawn_ = std::move(view);
  write(out);
}

void Console::write(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    pollfd wait_for{fd_, POLLOUT, 0};
    const int ready = ::poll(&wait_for, 1, 100);
    if (ready < 0 && errno != EINTR) return;
    if (ready <= 0) {
      const std::lock_guard lock(mutex_);
      if (stop_ && Clock::now() >= deadline_) return;
      continue;
    }
    const ssize_t wrote = ::write(fd_, text.data() + done, std::min(kChunk, text.size() - done));
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) return;  // the reader has left
    if (wrote > 0) done += static_cast<std::size_t>(wrote);
  }
}

/// A job in the background leaves the screen to the one in front.
bool Console::in_foreground() const {
  const pid_t front = ::tcgetpgrp(fd_);
  return front == -1 || front == ::getpgrp();
}

TerminalSize Console::size() const {
  winsize found{};
  if (::ioctl(fd_, TIOCGWINSZ, &found) != 0 || found.ws_col == 0 || found.ws_row == 0) return {};
  return {found.ws_col, found.ws_row};
}

}  // namespace hyperhost
