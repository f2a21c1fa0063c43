// SPDX-License-Identifier: Apache-2.0
// A terminal or pipe during a run: lines that scroll by, and below them a few that are redrawn. A
// thread of its own writes, so that print() never waits: a stopped terminal (Ctrl-S) or an unread
// pipe costs lines, not time. Made and destroyed by one thread; print() from any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace hyperhost {

struct TerminalSize {
  unsigned columns = 80, rows = 24;
  bool operator==(const TerminalSize&) const = default;
};

class Console {
 public:
  /// The live lines as they are now, each narrower than size.columns and no more than size.rows - 1
  /// of them; on the console's thread. Escape sequences may set colours and nothing else.
  using Paint = std::function<std::vector<std::string>(TerminalSize size)>;

  /// fd is not owned. Without `paint` there are no live lines.
  Console(int fd, Paint paint);
  /// Writes what is queued, for two seconds at most, and takes the live lines away.
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Queues one line (without its newline; it may hold others). Never blocks; when 4096 wait the
  /// oldest goes, and the next line written says how many did.
  void print(std::string line);

 private:
  void run();
  bool wait_for_work();
  bool being_resized();
  void draw(bool last);
  std::string take_lines();
  std::string to_first_row(TerminalSize size) const;
  void write(const std::string& text);
  bool in_foreground() const;
  TerminalSize size() const;

  const int fd_;
  const Paint paint_;
  std::mutex mutex_;  // guards queue_, dropped_, stop_
  std::condition_variable wake_;
  std::deque<std::string> queue_;
  uint64_t dropped_ = 0;
  bool stop_ = false;
  std::chrono::steady_clock::time_point deadline_;  ///< meaningful once stop_

  // The console's thread only, until thread_ is joined.
  std::vector<std::string> drawn_;  ///< the live lines on the screen
  TerminalSize seen_;
  std::chrono::steady_clock::time_point settled_;  ///< until then the window is being resized

  std::jthread thread_;
};

}  // namespace hyperhost
