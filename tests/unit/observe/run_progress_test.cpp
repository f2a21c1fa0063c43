// SPDX-License-Identifier: Apache-2.0
// The figures of a whole run: what is known of its size, its share, its time left, its states.
#include "core/watch/progress/run_progress.hpp"

#include <gmock/gmock.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <random>

#include "core/watch/progress/progress_tracker.hpp"
#include "tests/unit/observe/event_fixture.hpp"

namespace hyperhost {
namespace {

class RunFigures : public testing::Test {
 protected:
  void publish(const std::shared_ptr<const TaskInfo>& task, EventBody body) {
    tracker_.on_event(Event{clock_.wall(), task, std::move(body)});
  }
  void begin(std::size_t vms) {
    for (std::size_t i = 0; i < vms; ++i) tasks_.push_back(make_task("t" + std::to_string(i)));
    publish(nullptr, event::RunStarted{"run-1", "night", "ops", tasks_, "builder"});
  }
  void measure(std::size_t vm, uint64_t bytes) {
    publish(tasks_[vm], event::TaskMeasured{bytes, bytes, {"disk-0"}});
  }
  void start(std::size_t vm, uint64_t bytes) {
    publish(tasks_[vm], event::TaskStarted{1, bytes, {Stage::kConvert}});
    publish(tasks_[vm], event::StageStarted{Stage::kConvert, bytes, ""});
    publish(tasks_[vm], event::DiskStarted{Stage::kConvert, "disk-0", bytes});
  }
  void move(std::size_t vm, uint64_t done, uint64_t total) {
    publish(tasks_[vm], event::DiskProgress{Stage::kConvert, "disk-0", done, total});
  }
  void finish(std::size_t vm, Outcome outcome = Outcome::kSucceeded) {
    event::TaskFinished finished;
    finished.outcome = outcome;
    if (outcome != Outcome::kSucceeded) finished.error = Error(Code::kIo, "lost").diagnostic();
    publish(tasks_[vm], finished);
  }
  RunFrame run() const { return tracker_.frame().run; }

  ManualClock clock_;
  std::vector<std::shared_ptr<const TaskInfo>> tasks_;
  ProgressTracker tracker_{{256, [this] { return clock_.steady(); }}};
};

TEST_F(RunFigures, ARunSaysWhoseItIs) {
  begin(2);
  clock_.advance(std::chrono::seconds(7));
  const RunFrame frame = run();
  EXPECT_EQ(frame.run_id, "run-1");
  EXPECT_EQ(frame.plan, "night");
  EXPECT_EQ(frame.host, "builder");
  EXPECT_EQ(frame.waiting, 2u);
  EXPECT_EQ(frame.elapsed_seconds, 7);
  EXPECT_FALSE(frame.end_time);
}

TEST_F(RunFigures, NoShareIsShownUntilEverySizeIsKnown) {
  begin(3);
  measure(0, kGiB);
  measure(1, kGiB);
  start(0, kGiB);
  move(0, kGiB, kGiB);
  finish(0);
  EXPECT_EQ(run().unmeasured, 1u);
  EXPECT_EQ(run().guest_bytes, 2 * kGiB);  // at least
  EXPECT_FALSE(run().percentage);
  measure(2, 2 * kGiB);
  EXPECT_EQ(run().unmeasured, 0u);
  ASSERT_TRUE(run().percentage);
  EXPECT_DOUBLE_EQ(*run().percentage, 25);
}

TEST_F(RunFigures, SkippedIsAStateOfItsOwnAndDoneIsWhatSucceeded) {
  begin(4);
  for (std::size_t vm = 0; vm < 3; ++vm) measure(vm, kGiB);
  for (std::size_t vm = 0; vm < 2; ++vm) start(vm, kGiB);
  finish(0);
  finish(1, Outcome::kFailed);
  finish(2, Outcome::kSkipped);
  finish(3, Outcome::kCancelled);
  const ProgressFrame frame = tracker_.frame();
  EXPECT_EQ(frame.run.completed, 1u);
  EXPECT_EQ(frame.run.failed, 1u);
  EXPECT_EQ(frame.run.skipped, 1u);
  EXPECT_EQ(frame.run.cancelled, 1u);
  EXPECT_EQ(frame.tasks[2].status, TaskStatus::kSkipped);
  EXPECT_EQ(frame.tasks[2].percentage, 0);
  EXPECT_EQ(frame.tasks[2].error, "lost");
  ASSERT_TRUE(frame.run.percentage);
  EXPECT_NEAR(*frame.run.percentage, 100.0 / 3, 0.1);  // never 100 where VMs were lost
  EXPECT_FALSE(frame.run.left);
}

TEST_F(RunFigures, AVmSaysWhyItWaitsUntilItBegins) {
  begin(2);
  const event::TaskWaiting waits{"dependency", "for 'db', which it depends on", {}};
  publish(tasks_[1], waits);
  EXPECT_EQ(tracker_.frame().tasks[1].waiting, waits);
  EXPECT_EQ(progress_json(tracker_.frame().tasks[1])["waiting"]["reason"], "dependency");
  EXPECT_EQ(run().waiting, 2u);
  start(1, kGiB);
  EXPECT_FALSE(tracker_.frame().tasks[1].waiting);
  EXPECT_EQ(run().running, 1u);
  // Between two attempts it waits again, and what is done stays.
  move(1, kGiB / 2, kGiB);
  publish(tasks_[1], event::Retry{"migration", "", 1, std::chrono::seconds(60), {}});
  publish(tasks_[1], event::TaskWaiting{"retry", "attempt 2 at 12:00", clock_.wall()});
  EXPECT_EQ(run().running, 0u);
  EXPECT_EQ(run().waiting, 2u);
  EXPECT_DOUBLE_EQ(tracker_.frame().tasks[1].percentage, 50);
}

TEST_F(RunFigures, WhatAnEarlierRunMovedIsNoSpeedOfThisOne) {
  begin(3);
  for (std::size_t vm = 0; vm < 3; ++vm) measure(vm, 10 * kGiB);
  event::TaskFinished before;
  before.already_done = true;
  publish(tasks_[0], before);
  publish(tasks_[1], event::TaskStarted{1, 10 * kGiB, {Stage::kConvert}});
  publish(tasks_[1], event::StageStarted{Stage::kConvert, 10 * kGiB, ""});
  publish(tasks_[1], event::DiskStarted{Stage::kConvert, "disk-0", 10 * kGiB, 9 * kGiB});
  for (uint64_t second = 1; second <= 20; ++second) {
    clock_.advance(std::chrono::seconds(1));
    move(1, 9 * kGiB + second * 10 * kMiB, 10 * kGiB);
  }
  const RunFrame frame = run();
  EXPECT_EQ(frame.move_bytes, 20 * kGiB);  // the first had not to be moved
  ASSERT_TRUE(frame.left);
  // 824 MiB of the second and 10 GiB of the third at 10 MiB/s.
  EXPECT_NEAR(frame.left->likely, (824.0 + 10 * 1024) / 10, 60);
}

TEST_F(RunFigures, ARowADiskInTheOrderOfTheDescription) {
  begin(1);
  publish(tasks_[0], event::TaskMeasured{3 * kGiB, 3 * kGiB, {"boot", "data", "logs"}});
  publish(tasks_[0], event::TaskStarted{3, 3 * kGiB, {Stage::kExport, Stage::kConvert}});
  for (const char* disk : {"logs", "boot", "data"})
    for (const Stage stage : {Stage::kExport, Stage::kConvert}) {
      publish(tasks_[0], event::DiskStarted{stage, disk, kGiB});
      publish(tasks_[0], event::DiskProgress{stage, disk, kGiB / 4, kGiB});
    }
  const auto ids = [&] {
    std::vector<std::string> out;
    const ProgressFrame frame = tracker_.frame();
    for (const StepProgress& disk : frame.tasks[0].disks) out.push_back(disk.disk_id);
    return out;
  };
  EXPECT_THAT(ids(), testing::ElementsAre("boot", "data", "logs"));
  EXPECT_DOUBLE_EQ(tracker_.frame().tasks[0].disks[0].percentage, 25);
  // One disk fails; what was finished is not red.
  for (const Stage stage : {Stage::kExport, Stage::kConvert}) {
    publish(tasks_[0], event::DiskFinished{stage, "boot", true, kGiB, {}});
    publish(tasks_[0], event::DiskFinished{stage, "data", false, kGiB / 2, {}});
  }
  finish(0, Outcome::kFailed);
  const auto disks = tracker_.frame().tasks[0].disks;
  EXPECT_EQ(disks[0].status, StepProgress::Status::kCompleted);
  EXPECT_EQ(disks[1].status, StepProgress::Status::kFailed);
  EXPECT_EQ(disks[2].status, StepProgress::Status::kFailed);  // it ran when the VM failed
  EXPECT_EQ(disks[0].percentage, 100);
}

TEST_F(RunFigures, MoreVmsThanAreKeptAreAllCounted) {
  begin(600);
  for (std::size_t vm = 0; vm < 600; ++vm) {
    measure(vm, kMiB);
    start(vm, kMiB);
    finish(vm);
  }
  EXPECT_EQ(run().completed, 600u);
  EXPECT_EQ(run().percentage, 100);
}

/// 200 VMs of very different sizes, four at once through one line of 400 MiB/s, each with seconds
/// that move nothing; some fail in the middle, some are skipped, some wait, and sizes become known
/// bit by bit.
class ManyVms : public RunFigures {
 protected:
  struct Vm {
    uint64_t bytes = 0, done = 0;
    int idle = 0;  ///< seconds: connecting, committing
    Outcome end = Outcome::kSucceeded;
  };
  struct Estimate {
    double at = 0;
    TimeLeft left;
  };
  static constexpr std::size_t kVms = 200, kAtOnce = 4;

  void simulate(double per_vm, double together) {
    std::mt19937 random(42);
    begin(kVms);
    for (std::size_t i = 0; i < kVms; ++i) {
      Vm vm;
      vm.bytes = (1 + random() % 16) * kGiB;
      if (random() % 10 == 0) vm.bytes *= 6;
      vm.idle = 2 + static_cast<int>(random() % 4);
      if (random() % 20 == 0) vm.end = Outcome::kFailed;
      if (random() % 25 == 0) vm.end = Outcome::kSkipped;
      vms_.push_back(vm);
    }
    std::size_t next = 0, measured = 0, ended = 0;
    int waited = 0;
    std::deque<std::size_t> running;
    double second = 0;
    for (; ended < kVms; ++second) {
      for (int i = 0; i < 2 && measured < kVms; ++i, ++measured)
        measure(measured, vms_[measured].bytes);
      while (running.size() < kAtOnce && next < kVms) {
        // Each twentieth VM waits half a minute for one that it depends on.
        if (next % 20 == 10 && waited < 30) {
          ++waited;
          break;
        }
        if (next % 20 == 11) waited = 0;
        const std::size_t vm = next++;
        if (vms_[vm].end == Outcome::kSkipped) {
          finish(vm, Outcome::kSkipped);
          ++ended;
          continue;
        }
        running.push_back(vm);
        start(vm, vms_[vm].bytes);
      }
      clock_.advance(std::chrono::seconds(1));
      const double speed = std::min(
          per_vm, together / static_cast<double>(std::max<std::size_t>(1, running.size())));
      std::deque<std::size_t> still;
      for (const std::size_t vm : running) {
        Vm& one = vms_[vm];
        if (one.idle-- <= 0) {
          one.done = std::min(one.bytes, one.done + static_cast<uint64_t>(speed));
          move(vm, one.done, one.bytes);
        }
        const bool over =
            one.end == Outcome::kFailed ? one.done > one.bytes / 2 : one.done == one.bytes;
        if (!over) {
          still.push_back(vm);
          continue;
        }
        finish(vm, one.end);
        ++ended;
      }
      running.swap(still);
      if (ended >= 10 && static_cast<int>(second) % 20 == 0) {
        const auto left = run().left;
        ASSERT_TRUE(left || ended == kVms) << second;
        if (left) estimates_.push_back({second, *left});
      }
    }
    took_ = second;
  }

  void expect_within(double share) const {
    ASSERT_GT(estimates_.size(), 50u);
    double worst = 0;
    for (const Estimate& one : estimates_) {
      const double truth = took_ - one.at;
      // What is a matter of seconds is no estimate any more.
      EXPECT_NEAR(one.left.likely, truth, std::max(share * truth, 15.0)) << "at " << one.at;
      worst = std::max(worst, std::abs(one.left.likely - truth) / std::max(truth, 60.0));
    }
    RecordProperty("worst", std::to_string(worst));
    std::printf("%zu estimates, took %.0f s, worst error %.1f %%\n", estimates_.size(), took_,
                100 * worst);
  }

  std::vector<Vm> vms_;
  std::vector<Estimate> estimates_;
  double took_ = 0;
};

TEST_F(ManyVms, TheTimeLeftIsRightWithinAQuarterThroughOneLine) {
  simulate(1000.0 * kMiB, 400.0 * kMiB);
  expect_within(0.25);
}

TEST_F(ManyVms, TheTimeLeftIsRightWithinAQuarterWhereEachVmHasALimit) {
  simulate(60.0 * kMiB, 1000.0 * kMiB);
  expect_within(0.25);
}

}  // namespace
}  // namespace hyperhost
