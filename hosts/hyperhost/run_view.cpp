// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/run_view.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kYellow = "\x1b[33m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kCyan = "\x1b[36m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "";

constexpr std::size_t kStage = 7, kPercent = 4, kBytes = 13, kRate = 10, kLeft = 6;
constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

std::string printed(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

/// Three digits of a number below 1024.
std::string three(double value) {
  return printed(value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

std::size_t unit_of(double bytes) {
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit < 6) {
    bytes /= 1024;
    ++unit;
  }
  return unit;
}

std::string percent(double value) {
  return printed("%.0f", std::floor(value)) + "%";
}

std::string rate_text(double bytes) {
  return bytes < 1 ? "-" : short_bytes(bytes) + "/s";
}

struct Look {
  const char* word;
  const char* colour;
  int urgency;  ///< which go first where not all fit
};

Look look_of(const TaskProgress& task, const StepProgress* step) {
  switch (task.status) {
    case TaskStatus::kPending:
      return {"waiting", kDim, 3};
    case TaskStatus::kCompleted:
      return {"done", kGreen, 4};
    case TaskStatus::kFailed:
      return {"failed", kRed, 1};
    case TaskStatus::kCancelled:
      return {"stopped", kYellow, 2};
    case TaskStatus::kSkipped:
      return {"skipped", kYellow, 2};
    default:
      // Between two stages the last one is named, as in every other display.
      return {step == nullptr ? "begins" : stage_name(step->stage), kCyan, 0};
  }
}

/// The stage that the VM is in; once it has ended the conversion, else the last one.
const StepProgress* shown_stage(const TaskProgress& task) {
  const StepProgress* shown = nullptr;
  const bool final = is_final(task.status);
  for (const StepProgress& stage : task.stages) {
    if (final && stage.stage == Stage::kConvert) return &stage;
    if (final || stage_name(stage.stage) == task.current_stage) shown = &stage;
  }
  return shown;
}

}  // namespace

std::string short_duration(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  char text[64];
  if (whole < 60)
    std::snprintf(text, sizeof text, "%llds", whole);
  else if (whole < 3600)
    std::snprintf(text, sizeof text, "%lldm%02llds", whole / 60, whole % 60);
  else if (whole < 100 * 3600)
    std::snprintf(text, sizeof text, "%lldh%02lldm", whole / 3600, whole / 60 % 60);
  else
    std::snprintf(text, sizeof text, "%lldd%02lldh", whole / 86400, whole / 3600 % 24);
  return text;
}

std::string short_bytes(double bytes) {
  const std::size_t unit = unit_of(bytes);
  const double value = std::ldexp(bytes, -10 * static_cast<int>(unit));
  return (unit == 0 ? printed("%.0f", value) : three(value)) + " " + kUnits[unit];
}

std::string short_fraction(uint64_t done, uint64_t total) {
  if (total == 0) return done == 0 ? "" : short_bytes(static_cast<double>(done));
  const std::size_t unit = unit_of(static_cast<double>(total));
  const auto in_unit = [&](uint64_t bytes) {
    const double value = std::ldexp(static_cast<double>(bytes), -10 * static_cast<int>(unit));
    return unit == 0 ? printed("%.0f", value) : three(value);
  };
  return in_unit(std::min(done, total)) + "/" + in_unit(total) + " " + kUnits[unit];
}

/// Widths for one frame; 0 = the column is left out.
struct RunView::Columns {
  std::size_t name, bar, bytes, average;

  Columns(std::size_t width, std::size_t longest_name) {
    constexpr std::size_t kFixed = kStage + 1 + kPercent + 1 + kRate + 1 + kLeft + 1;
    constexpr std::size_t kShortName = 14, kLongName = 32, kShortBar = 8, kLongBar = 24;
    bar = bytes = average = 0;
    std::size_t room = width > kFixed ? width - kFixed : 0;
    // What an operator would miss first gets its room first.
    const auto take = [&](std::size_t& column, std::size_t wanted) {
      if (room < kShortName + wanted + 1) return;
      column = wanted;
      room -= wanted + 1;
    };
    take(bar, kShortBar);
    take(bytes, kBytes);
    take(average, kRate);
    name = std::min(room, std::clamp(longest_name, kShortName, kLongName));
    if (bar > 0) bar += std::min(room - name, kLongBar - kShortBar);
  }
};

RunView::RunView(const ProgressTracker& tracker, Options options)
    : tracker_(tracker), options_(std::move(options)) {}

std::string time_left(const TimeLeft& left) {
  if (left.certain()) return short_duration(left.likely) + " left";
  return short_duration(left.low) + " to " + short_duration(left.high) + " left";
}

std::string RunView::painted(const std::string& text, const char* colour) const {
  return options_.colour && *colour != '\0' ? colour + text + "\x1b[0m" : text;
}

std::string RunView::bar(double percentage, std::size_t width, const char* colour) const {
  const auto full = static_cast<std::size_t>(std::clamp(percentage, 0.0, 100.0) / 100 *
                                             static_cast<double>(width));
  std::string done, rest;
  for (std::size_t i = 0; i < width; ++i) {
    if (i < full)
      done += options_.unicode ? "━" : "#";
    else
      rest += options_.unicode ? "─" : ".";
  }
  return painted(done, colour) + painted(rest, kDim);
}

std::string RunView::row(const Columns& columns, const Row& shown, const StepProgress* step) const {
  std::string out =
      fitted(shown.name, columns.name) + " " + painted(fitted(shown.stage, kStage), shown.colour);
  const bool running = step != nullptr && step->status == StepProgress::Status::kRunning;
  if (columns.bar > 0) out += " " + bar(shown.percentage, columns.bar, shown.colour);
  out += " " + right_aligned(step == nullptr ? "" : percent(shown.percentage), kPercent);
  if (columns.bytes > 0)
    out += " " +
           right_aligned(step == nullptr ? "" : short_fraction(step->bytes_done, step->bytes_total),
                         columns.bytes);
  out += " " + right_aligned(running ? rate_text(shown.rate) : "", kRate);
  if (columns.average > 0)
    out += " " + right_aligned(step == nullptr ? "" : rate_text(shown.average), columns.average);
  out += " " + right_aligned(shown.left, kLeft);
  out.erase(out.find_last_not_of(' ') + 1);
  return out;
}

std::vector<std::string> RunView::task_lines(const TaskProgress& task, const Columns& columns,
                                             std::size_t width) const {
  const StepProgress* stage = shown_stage(task);
  const Look look = look_of(task, stage);
  const std::string name = printable(task.info->vm_name);
  if (task.waiting) {
    std::string line = fitted(name, columns.name) + " " + painted(look.word, look.colour) + ": ";
    const std::size_t used = columns.name + 1 + std::string(look.word).size() + 2;
    const std::string why = printable(task.waiting->text);
    if (used < width) line += display_width(why) <= width - used ? why : fitted(why, width - used);
    return {line.substr(0, line.find_last_not_of(' ') + 1)};
  }
  std::string left;
  const bool began = stage != nullptr || task.status == TaskStatus::kCompleted;
  if (is_final(task.status) && task.end_time && began)
    left = short_duration(std::chrono::duration<double>(*task.end_time - task.start_time).count());
  else if (task.eta_seconds)
    left = short_duration(*task.eta_seconds);
  std::vector<std::string> lines = {row(
      columns, {name, look.word, look.colour, task.percentage, task.rate, task.average_rate, left},
      stage)};
  if (is_final(task.status)) return lines;
  for (const StepProgress& disk : task.disks) {
    if (disk.status != StepProgress::Status::kRunning) continue;
    lines.push_back(row(
        columns,
        {"  " + printable(disk.disk_id), stage_name(disk.stage), kPlain, disk.percentage, disk.rate,
         disk.average_rate, disk.eta_seconds ? short_duration(*disk.eta_seconds) : ""},
        &disk));
  }
  return lines;
}

std::string RunView::totals(const RunFrame& run, std::size_t width) const {
  std::string text = printable(options_.title) + ": " + std::to_string(run.completed) + " of " +
                     std::to_string(run.total) + (run.total == 1 ? " VM done" : " VMs done");
  std::string failures;
  const std::pair<std::size_t, const char*> lost[] = {
      {run.failed, "failed"}, {run.cancelled, "stopped"}, {run.skipped, "skipped"}};
  for (const auto& [number, word] : lost)
    if (number > 0) failures += ", " + std::to_string(number) + " " + word;
  std::vector<std::string> facts;
  const std::string size = short_bytes(static_cast<double>(run.move_bytes));
  if (run.percentage && run.move_bytes > 0)
    facts.push_back(percent(*run.percentage) + " of " + size);
  else if (run.move_bytes > 0)
    facts.push_back("of at least " + size);
  if (run.move_bytes > 0) facts.push_back(rate_text(run.rate));
  if (run.left) facts.push_back(time_left(*run.left));
  facts.push_back(short_duration(run.elapsed_seconds) + " so far");
  std::string rest;
  for (const std::string& fact : facts) {
    const std::string longer = rest + "  " + fact;
    if (display_width(text) + failures.size() + longer.size() > width) break;
    rest = longer;
  }
  if (display_width(text) + failures.size() > width)
    return fitted(text, std::max<std::size_t>(width, 1));
  return painted(text, kBold) + painted(failures, kRed) + rest;
}

std::string RunView::heading(const Columns& columns) const {
  std::string out = fitted("VM", columns.name) + " " + fitted("stage", kStage);
  if (columns.bar > 0) out += " " + fitted("", columns.bar);
  out += " " + right_aligned("", kPercent);
  if (columns.bytes > 0) out += " " + right_aligned("done/total", columns.bytes);
  out += " " + right_aligned("now", kRate);
  if (columns.average > 0) out += " " + right_aligned("average", columns.average);
  return painted(out + " " + right_aligned("left", kLeft), kDim);
}

std::vector<std::string> RunView::lines(TerminalSize size) const {
  const ProgressFrame frame = tracker_.frame();
  if (frame.tasks.empty() || size.columns < 2 || size.rows < 2) return {};
  const std::size_t width = size.columns - 1;
  std::size_t longest = 0;
  for (const TaskProgress& task : frame.tasks)
    longest = std::max(longest, display_width(printable(task.info->vm_name)));
  const Columns columns(width, longest);

  const std::size_t room = size.rows - 1;
  std::vector<std::string> out = {totals(frame.run, width)};
  for (const std::string& limit : frame.run.limits)
    if (const std::string line = "slowed down by " + limit;
        line.size() <= width && out.size() < room)
      out.push_back(painted(line, kYellow));
  if (columns.name < 4) return out;  // a window for a glance
  if (out.size() < room) out.push_back(heading(columns));

  std::vector<const TaskProgress*> order;
  for (const TaskProgress& task : frame.tasks) order.push_back(&task);
  const auto urgency = [](const TaskProgress* task) {
    return look_of(*task, shown_stage(*task)).urgency;
  };
  std::size_t wanted = out.size();
  for (const TaskProgress& task : frame.tasks) wanted += task_lines(task, columns, width).size();
  if (wanted > room)
    std::stable_sort(order.begin(), order.end(), [&](const TaskProgress* a, const TaskProgress* b) {
      return urgency(a) < urgency(b);
    });
  std::size_t hidden = 0;
  for (const TaskProgress* task : order) {
    // The last row says how many are not shown.
    const std::size_t limit = wanted > room ? room - 1 : room;
    if (out.size() >= limit) {
      ++hidden;
      continue;
    }
    for (std::string& line : task_lines(*task, columns, width))
      if (out.size() < limit) out.push_back(std::move(line));
  }
  if (hidden > 0)
    out.push_back(
        painted("and " + std::to_string(hidden) + (hidden == 1 ? " more VM" : " more VMs"), kDim));
  if (out.size() > room) out.resize(room);
  return out;
}

}  // namespace hyperhost
