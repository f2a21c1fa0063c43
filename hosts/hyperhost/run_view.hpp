// SPDX-License-Identifier: Apache-2.0
// What a run looks like on a terminal: totals, then a line a VM and a line for each of its disks
// that is worked on, in whatever room there is. Reads the ProgressTracker; owned by the console's
// painter, one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/watch/progress/byte_rate.hpp"
#include "core/watch/progress/progress_tracker.hpp"
#include "hosts/hyperhost/console.hpp"

namespace hyperhost {

class RunView {
 public:
  struct Options {
    std::string title;         ///< the plan's name
    uint64_t guest_bytes = 0;  ///< of all VMs, as far as preflight knows; 0 = not known
    bool colour = false, unicode = false;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  RunView(const ProgressTracker& tracker, Options options);

  /// Console::Paint. Without a task there are no lines.
  std::vector<std::string> lines(TerminalSize size);

 private:
  struct Columns;
  std::string totals(const std::vector<TaskProgress>& tasks, std::size_t width);
  std::vector<std::string> task_lines(const TaskProgress& task, const Columns& columns) const;
  std::string row(const Columns& columns, const std::string& name, const std::string& stage,
                  const char* colour, const StepProgress* step, const std::string& left) const;
  std::string bar(double percentage, std::size_t width, const char* colour) const;
  std::string painted(const std::string& text, const char* colour) const;

  const ProgressTracker& tracker_;
  const Options options_;
  const std::chrono::steady_clock::time_point begin_;
  ByteRate work_{std::chrono::seconds(15)};  ///< of all VMs' completed bytes, for the ETA
};

/// "59 s" as "59s", "1m02s", "3h12m", "4d03h": six columns at most.
std::string short_duration(double seconds);
/// Three digits: "1.22 GiB", "12.2 GiB", "122 GiB".
std::string short_bytes(double bytes);
/// "12.3/30.0 GiB": both in the unit of the second.
std::string short_fraction(uint64_t done, uint64_t total);

}  // namespace hyperhost
