// SPDX-License-Identifier: Apache-2.0
// The live view of a run by exact output, what a terminal is shown of hostile names, and a console
// whose reader does not read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/plugin/document_schema.hpp"
#include "hosts/hyperhost/console.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/run_view.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

/// A tracker with a clock of its own, fed with the events of a run.
class View : public ::testing::Test {
 protected:
  View() : tracker_({256, [this] { return now_; }}) {}

  std::shared_ptr<const TaskInfo> task(const std::string& name) {
    auto info = std::make_shared<TaskInfo>();
    info->task_id = "task-" + name;
    info->vm_name = name;
    info->run_id = "run";
    return info;
  }
  void tell(const std::shared_ptr<const TaskInfo>& about, EventBody body) {
    tracker_.on_event({wall_, about, std::move(body)});
  }
  void pass(std::chrono::milliseconds time) {
    now_ += time;
    wall_ += time;
  }
  RunView view(bool colour = false, bool unicode = false) {
    return RunView(tracker_, {"night", colour, unicode});
  }
  /// A disk of 4 GiB that moves at 100 MiB/s for ten seconds, and a VM that waits.
  void half_way(const std::string& name = "web-01") {
    first_ = task(name);
    second_ = task("db");
    tell(nullptr, event::RunStarted{"run", "night", "ops", {first_, second_}});
    tell(first_, event::TaskMeasured{4 * kGiB, 4 * kGiB, {"disk-0"}});
    tell(second_, event::TaskMeasured{4 * kGiB, 4 * kGiB, {"disk-0"}});
    tell(first_, event::TaskStarted{1, 4 * kGiB, {Stage::kExport, Stage::kConvert}});
    tell(first_, event::StageStarted{Stage::kExport, 0, ""});
    tell(first_, event::StageStarted{Stage::kConvert, 4 * kGiB, ""});
    tell(first_, event::DiskStarted{Stage::kConvert, "disk-0", 4 * kGiB});
    for (uint64_t step = 1; step <= 100; ++step) {
      pass(100ms);
      tell(first_, event::DiskProgress{Stage::kConvert, "disk-0", step * 10 * kMiB, 4 * kGiB});
    }
  }

  std::chrono::steady_clock::time_point now_{1000s};
  WallClock::time_point wall_{1'000'000s};
  ProgressTracker tracker_;
  std::shared_ptr<const TaskInfo> first_, second_;
};

TEST_F(View, AtEightyColumns) {
  RunView shown = view();
  half_way();
  EXPECT_EQ(
      shown.lines({80, 24}),
      (Lines{"night: 0 of 2 VMs done  12% of 8.00 GiB  100 MiB/s  1m11s left  10s so far",
             "VM             stage                    done/total        now    average   left",
             "web-01         convert #.......  24% 0.98/4.00 GiB  100 MiB/s  100 MiB/s    31s",
             "  disk-0       convert #.......  24% 0.98/4.00 GiB  100 MiB/s  100 MiB/s    31s",
             "db             waiting ........"}));
}

TEST_F(View, ColumnsLeaveInANarrowWindowAndNothingIsEverWider) {
  RunView shown = view();
  half_way("a-name-that-is-far-longer-than-any-window-would-like");
  for (unsigned columns = 1; columns < 200; ++columns)
    for (const std::string& line : shown.lines({columns, 24}))
      EXPECT_LT(display_width(line), columns) << line;
  EXPECT_EQ(shown.lines({60, 24})[1],
            "VM                  stage                        now   left");
}

TEST_F(View, WhatDoesNotFitIsCountedAndWhatRunsComesFirst) {
  half_way();
  tell(first_, event::TaskFinished{Outcome::kSucceeded, {}, 10s, 0, 0, 0, "", {}});
  for (int i = 0; i < 30; ++i) {
    const auto other = task("vm-" + std::to_string(i));
    tell(other, event::TaskStarted{1, kGiB, {Stage::kExport}});
    tell(other, event::StageStarted{Stage::kExport, 0, ""});
  }
  RunView shown = view();
  for (unsigned rows = 2; rows < 40; ++rows) EXPECT_LT(shown.lines({80, rows}).size(), rows);
  const Lines lines = shown.lines({80, 10});
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_EQ(lines[2].substr(0, 5), "vm-0 ");
  EXPECT_EQ(lines.back(), "and 26 more VMs");
}

TEST_F(View, EndsAndFailuresAreTold) {
  half_way();
  Diagnostic error;
  error.summary = "no space left";
  tell(first_, event::TaskFinished{Outcome::kFailed, error, 10s, 0, 0, 0, "", {}});
  RunView shown = view();
  const Lines lines = shown.lines({80, 24});
  EXPECT_EQ(lines[0].substr(0, 58), "night: 0 of 2 VMs done, 1 failed  12% of 8.00 GiB  -  41s ");
  EXPECT_EQ(lines[2],
            "web-01         failed  #.......  24% 0.98/4.00 GiB             100 MiB/s    10s");
}

// A disk of 4 GiB with 1 GiB on it: what is read counts, now and on average.
TEST_F(View, AVmsSpeedsAreOfTheSameBytes) {
  first_ = task("web-01");
  tell(nullptr, event::RunStarted{"run", "night", "ops", {first_}});
  tell(first_, event::TaskMeasured{4 * kGiB, kGiB, {"disk-0"}});
  tell(first_, event::TaskStarted{1, 4 * kGiB, {Stage::kExport, Stage::kConvert}});
  for (const Stage stage : {Stage::kExport, Stage::kConvert}) {
    tell(first_, event::StageStarted{stage, stage == Stage::kExport ? kGiB : 4 * kGiB, ""});
    tell(first_, event::DiskStarted{stage, "disk-0", stage == Stage::kExport ? kGiB : 4 * kGiB});
  }
  for (uint64_t step = 1; step <= 100; ++step) {
    pass(100ms);
    tell(first_, event::DiskProgress{Stage::kExport, "disk-0", step * kMiB, kGiB});
    tell(first_, event::DiskProgress{Stage::kConvert, "disk-0", step * 4 * kMiB, 4 * kGiB});
  }
  const std::string row = view().lines({80, 24})[2];
  EXPECT_NE(row.find("10.0 MiB/s 10.0 MiB/s"), std::string::npos) << row;
}

TEST_F(View, ASizeThatIsNotKnownYetMakesItAtLeast) {
  half_way();
  const auto late = task("late");
  tell(late, event::TaskWaiting{"window", "its start window opens at 22:00", {}});
  const Lines lines = view().lines({80, 24});
  EXPECT_EQ(lines[0].substr(0, 45), "night: 0 of 3 VMs done  of at least 8.00 GiB ");
  EXPECT_EQ(lines[0].find('%'), std::string::npos);
}

TEST_F(View, WhyAVmWaitsAndWhatSlowsTheRunDown) {
  tracker_.set_limits([](const ProgressFrame&) {
    return std::vector<std::string>{"source_bandwidth_limit of 5.72 MiB/s"};
  });
  half_way();
  tell(second_, event::TaskWaiting{"dependency", "for 'web', which it depends on", {}});
  const Lines lines = view().lines({80, 24});
  EXPECT_EQ(lines[1], "slowed down by source_bandwidth_limit of 5.72 MiB/s");
  EXPECT_EQ(lines[5], "db             waiting: for 'web', which it depends on");
  EXPECT_LT(view().lines({40, 24})[4].size(), 40u);
}

TEST_F(View, ASkippedVmIsNeitherDoneNorWhole) {
  half_way();
  event::TaskFinished skipped;
  skipped.outcome = Outcome::kSkipped;
  tell(second_, skipped);
  const Lines lines = view().lines({80, 24});
  EXPECT_EQ(lines[0].substr(0, 33), "night: 0 of 2 VMs done, 1 skipped");
  EXPECT_EQ(lines[4], "db             skipped ........");
}

TEST_F(View, BetweenTwoStagesTheLastOneIsNamed) {
  half_way();
  tell(first_, event::StageFinished{Stage::kExport});
  tell(first_, event::StageFinished{Stage::kConvert, true, 4 * kGiB});
  ASSERT_EQ(tracker_.frame().tasks[0].current_stage, "convert");
  EXPECT_EQ(view().lines({80, 24})[2].substr(0, 22), "web-01         convert");
}

TEST_F(View, AVmThatWasStoppedBeforeItBeganTookNoTime) {
  half_way();
  event::TaskFinished stopped;
  stopped.outcome = Outcome::kCancelled;
  tell(second_, stopped);
  EXPECT_EQ(view().lines({80, 24})[4], "db             stopped ........");
}

TEST_F(View, ColoursOnlyWhereWanted) {
  half_way();
  for (const std::string& line : view(false, true).lines({80, 24}))
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
  const std::string painted = view(true).lines({80, 24})[2];
  EXPECT_NE(painted.find("\x1b[36mconvert\x1b[0m"), std::string::npos);
}

TEST_F(View, AHostileNameMovesNoCursor) {
  half_way("evil\x1b[2J\r\nname\xc2\x9b");
  for (const std::string& line : view().lines({80, 24}))
    for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
}

TEST(TerminalText, WidthsAndCuts) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("größe"), 5u);
  EXPECT_EQ(display_width("仮想"), 4u);
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);  // a combining accent
  EXPECT_EQ(fitted("仮想機械", 5), "仮想~");
  EXPECT_EQ(fitted("仮想機械", 6), "仮想~ ");
  EXPECT_EQ(fitted("ab", 4), "ab  ");
  EXPECT_EQ(printable("a\x1b[31mb\tc\xff\n"), "a?[31mb c??");
  EXPECT_EQ(printable("a\nb", true), "a\nb");
  EXPECT_EQ(printable("\xe2\x80\xae gpj"), "? gpj");  // right-to-left override
  EXPECT_EQ(printable("\xc0\x80\xed\xa0\x80"), "?????");
}

TEST(DiagnosticJson, FitsItsSchema) {
  Diagnostic diagnostic;
  diagnostic.summary = "it is full";
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kError}) {
    for (int code = 0; code >= static_cast<int>(Code::kExists); --code) {
      diagnostic.severity = severity;
      diagnostic.code = static_cast<Code>(code);
      EXPECT_NO_THROW(check_document("diagnostic", diagnostic_json(diagnostic), "diagnostic_json"));
    }
  }
  diagnostic.detail = diagnostic.hint = diagnostic.path = diagnostic.where = diagnostic.rule = "x";
  diagnostic.native_code = -28;
  const nlohmann::json all = diagnostic_json(diagnostic);
  EXPECT_NO_THROW(check_document("diagnostic", all, "diagnostic_json"));
  for (const auto& [key, value] : all.items())
    EXPECT_TRUE(document_schema("diagnostic")["properties"].contains(key)) << key;
}

TEST(RunViewText, Numbers) {
  EXPECT_EQ(short_duration(59.4), "59s");
  EXPECT_EQ(short_duration(62), "1m02s");
  EXPECT_EQ(short_duration(3 * 3600 + 12 * 60), "3h12m");
  EXPECT_EQ(short_duration(100 * 3600), "4d04h");
  EXPECT_EQ(short_bytes(999), "999 B");
  EXPECT_EQ(short_bytes(1000), "0.98 KiB");
  EXPECT_EQ(short_bytes(1.5 * kGiB), "1.50 GiB");
  EXPECT_EQ(short_fraction(0, 0), "");
  EXPECT_EQ(short_fraction(512 * kMiB, 30 * kGiB), "0.50/30.0 GiB");
}

TEST(Console, AReaderThatDoesNotReadCostsNoTime) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const auto begin = std::chrono::steady_clock::now();
  {
    Console console(ends[1], {});
    for (int i = 0; i < 20'000; ++i) console.print(std::string(100, 'x'));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 6s);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Console, EveryLineComesAndTheViewGoes) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  {
    int frame = 0;
    Console console(ends[1], [&frame](TerminalSize size) {
      EXPECT_EQ(size.columns, 80u);
      return Lines{"frame " + std::to_string(++frame), "second"};
    });
    console.print("hello");
    std::this_thread::sleep_for(250ms);  // what a frame takes is the console's own clock
  }
  ::close(ends[1]);
  std::string all(65536, '\0');
  const ssize_t got = ::read(ends[0], all.data(), all.size());
  ::close(ends[0]);
  ASSERT_GT(got, 0);
  all.resize(static_cast<size_t>(got));
  EXPECT_NE(all.find("hello\n"), std::string::npos);
  EXPECT_NE(all.find("frame 1\x1b[K\nsecond\x1b[K"), std::string::npos);
  EXPECT_NE(all.find("\r\x1b[1Aframe 2\x1b[K\nsecond\x1b[K\x1b[J"), std::string::npos);
  EXPECT_EQ(all.find("\x1b[2J"), std::string::npos);  // the whole screen is never blanked
  EXPECT_EQ(all.substr(all.size() - 8), "\r\x1b[1A\x1b[J");
}

/// A terminal of our own: what is written on `program` is read from `terminal`.
class Window : public ::testing::Test {
 protected:
  Window() {
    EXPECT_EQ(::openpty(&terminal_, &program_, nullptr, nullptr, nullptr), 0);
    resize(132);
  }
  ~Window() override {
    ::close(terminal_);
    ::close(program_);
  }
  void resize(unsigned short columns) const {
    const winsize size{24, columns, 0, 0};
    EXPECT_EQ(::ioctl(terminal_, TIOCSWINSZ, &size), 0);
  }
  /// All that is written until each of `texts` has come.
  std::string read_until(const std::vector<std::string>& texts) const {
    std::string all;
    std::array<char, 4096> buffer{};
    for (const std::string& text : texts) {
      while (all.find(text) == std::string::npos) {
        const ssize_t got = ::read(terminal_, buffer.data(), buffer.size());
        if (got <= 0) throw std::runtime_error(text + " did not come: " + all);
        all.append(buffer.data(), static_cast<size_t>(got));
      }
    }
    return all;
  }

  int terminal_ = -1, program_ = -1;
};

TEST_F(Window, AFrameThatWasPaintedForAnotherSizeIsNotDrawn) {
  bool first = true;
  Console console(program_, [&](TerminalSize size) {
    if (std::exchange(first, false)) resize(60);
    return Lines{"for " + std::to_string(size.columns)};
  });
  console.print("a line");
  const std::string all = read_until({"a line\r\n", "for 60"});
  EXPECT_EQ(all.find("for 132"), std::string::npos) << all;
}

TEST_F(Window, NothingIsWrittenWhileItIsBeingResized) {
  Console console(program_,
                  [](TerminalSize size) { return Lines{"for " + std::to_string(size.columns)}; });
  read_until({"for 132"});
  resize(100);
  std::this_thread::sleep_for(150ms);  // most likely the console has seen it
  const auto begin = std::chrono::steady_clock::now();
  resize(60);
  console.print("a line");
  read_until({"for 60"});
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 1s);
}

}  // namespace
}  // namespace hyperhost
