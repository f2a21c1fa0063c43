// SPDX-License-Identifier: Apache-2.0
// What a run looks like on a terminal: totals, then a line a VM and a line for each of its disks
// that is worked on, in whatever room there is. Reads the ProgressTracker; owned by the console's
// painter, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/watch/progress/progress_tracker.hpp"
#include "hosts/hyperhost/console.hpp"

namespace hyperhost {

class RunView {
 public:
  struct Options {
    std::string title;  ///< the plan's name
    bool colour = false, unicode = false;
  };
  RunView(const ProgressTracker& tracker, Options options);

  /// Console::Paint. Without a task there are no lines.
  std::vector<std::string> lines(TerminalSize size) const;

 private:
  struct Columns;
  /// What a row shows beside the figures of its step.
  struct Row {
    std::string name, stage;
    const char* colour = "";
    double percentage = 0, rate = 0, average = 0;
    std::string left;
  };
  std::string totals(const RunFrame& run, std::size_t width) const;
  std::string heading(const Columns& columns) const;
  std::vector<std::string> task_lines(const TaskProgress& task, const Columns& columns,
                                      std::size_t width) const;
  std::string row(const Columns& columns, const Row& shown, const StepProgress* step) const;
  std::string bar(double percentage, std::size_t width, const char* colour) const;
  std::string painted(const std::string& text, const char* colour) const;

  const ProgressTracker& tracker_;
  const Options options_;
};

/// "59 s" as "59s", "1m02s", "3h12m", "4d03h": six columns at most.
std::string short_duration(double seconds);
/// "31s left", or "25s to 40s left" where it is uncertain.
std::string time_left(const TimeLeft& left);
/// Three digits: "1.22 GiB", "12.2 GiB", "122 GiB".
std::string short_bytes(double bytes);
/// "12.3/30.0 GiB": both in the unit of the second.
std::string short_fraction(uint64_t done, uint64_t total);

}  // namespace hyperhost
