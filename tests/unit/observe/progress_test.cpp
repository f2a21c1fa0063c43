// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "core/watch/progress/progress_tracker.hpp"
#include "tests/unit/observe/event_fixture.hpp"

namespace hyperhost {
namespace {

class Progress : public testing::Test {
 protected:
  void publish(EventBody body, int advance_ms = 0) { publish(task_, std::move(body), advance_ms); }
  void publish(std::shared_ptr<const TaskInfo> task, EventBody body, int advance_ms = 0) {
    clock_.advance(std::chrono::milliseconds(advance_ms));
    tracker_.on_event(Event{clock_.wall(), std::move(task), std::move(body)});
  }
  TaskProgress now() { return tracker_.get_progress(task_->task_id).value(); }

  ManualClock clock_;
  std::shared_ptr<TaskInfo> task_ = make_task("t1");
  ProgressTracker tracker_{{3, [this] { return clock_.steady(); }}};
};

TEST_F(Progress, TasksOfARunArePendingBeforeTheyStart) {
  publish(nullptr, event::RunStarted{"run-1", "plan", "ops", {make_task("b"), make_task("a")}});
  const auto tasks = tracker_.list();
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].info->task_id, "b");  // the order of the plan
  EXPECT_EQ(tasks[0].status, TaskStatus::kPending);
  EXPECT_EQ(tasks[0].percentage, 0);
}

TEST_F(Progress, UnknownTaskIsNotThere) {
  EXPECT_FALSE(tracker_.get_progress("no-such-task"));
}

TEST_F(Progress, OnePassMovesThroughTheStatusesAndEndsAtHundred) {
  publish(event::TaskStarted{1, 100 * kMiB, {Stage::kExport, Stage::kConvert, Stage::kUpload}});
  publish(event::StageStarted{Stage::kExport, 40 * kMiB, "streaming"});
  EXPECT_EQ(task_status_name(now()), "exporting");
  publish(event::StageStarted{Stage::kConvert, 100 * kMiB, ""});
  publish(event::StageStarted{Stage::kUpload, 0, ""});
  EXPECT_EQ(task_status_name(now()), "converting");
  publish(event::DiskProgress{Stage::kExport, "d0", 20 * kMiB, 40 * kMiB}, 1000);
  publish(event::DiskProgress{Stage::kConvert, "d0", 50 * kMiB, 100 * kMiB});
  EXPECT_DOUBLE_EQ(now().percentage, 50);  // the upload, of unknown size, follows its feeder
  publish(event::StageFinished{Stage::kExport, true, 40 * kMiB, {}}, 1000);
  EXPECT_EQ(task_status_name(now()), "converting");
  publish(event::StageFinished{Stage::kConvert, true, 100 * kMiB, {}});
  EXPECT_EQ(task_status_name(now()), "uploading");
  publish(event::StageFinished{Stage::kUpload, true, 30 * kMiB, {}});
  EXPECT_LT(now().percentage, 100);
  publish(event::TaskFinished{});
  EXPECT_EQ(now().status, TaskStatus::kCompleted);
  EXPECT_EQ(now().percentage, 100);
}

TEST_F(Progress, ASecondDiskDoesNotThrowTheFirstBack) {
  publish(event::TaskStarted{2, 200 * kMiB, {Stage::kConvert}});
  publish(event::StageStarted{Stage::kConvert, 0, ""});
  publish(event::DiskStarted{Stage::kConvert, "d0", 100 * kMiB});
  publish(event::DiskFinished{Stage::kConvert, "d0", true, 100 * kMiB, {}}, 100);
  EXPECT_DOUBLE_EQ(now().percentage, 50);
  publish(event::DiskStarted{Stage::kConvert, "d1", 100 * kMiB});
  EXPECT_DOUBLE_EQ(now().percentage, 50);
}

TEST_F(Progress, ARetryKeepsThePercentageUntilItIsPassed) {
  publish(event::TaskStarted{1, 100 * kMiB, {Stage::kConvert}});
  publish(event::StageStarted{Stage::kConvert, 0, ""});
  publish(event::DiskProgress{Stage::kConvert, "d0", 60 * kMiB, 100 * kMiB}, 500);
  publish(event::Retry{"convert", "d0", 1, {}, {}});
  publish(event::DiskStarted{Stage::kConvert, "d0", 100 * kMiB});
  publish(event::DiskProgress{Stage::kConvert, "d0", 10 * kMiB, 100 * kMiB}, 500);
  EXPECT_DOUBLE_EQ(now().percentage, 60);
  EXPECT_DOUBLE_EQ(now().disks.at(0).percentage, 60);
  EXPECT_EQ(now().disks.at(0).bytes_done, 10 * kMiB);  // bytes tell the truth
  EXPECT_EQ(now().retries, 1u);
  publish(event::DiskProgress{Stage::kConvert, "d0", 70 * kMiB, 100 * kMiB}, 500);
  EXPECT_DOUBLE_EQ(now().percentage, 70);
}

TEST_F(Progress, NeverFallsAndNeverReachesHundredEarlyWhateverComes) {
  std::mt19937 random(7);
  publish(event::TaskStarted{3, 100 * kMiB, {}});
  double before = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto stage = Stage(kStageTable[random() % std::size(kStageTable)]);
    const std::string disk = "d" + std::to_string(random() % 3);
    const uint64_t done = random() % (120 * kMiB), total = random() % (100 * kMiB);
    switch (random() % 6) {
      case 0:
        publish(event::StageStarted{stage, total, ""}, 10);
        break;
      case 1:
        publish(event::StageFinished{stage, random() % 2 == 0, done, {}}, 10);
        break;
      case 2:
        publish(event::DiskStarted{stage, disk, total}, 10);
        break;
      case 3:
        publish(event::DiskFinished{stage, disk, random() % 2 == 0, done, {}}, 10);
        break;
      default:
        publish(event::DiskProgress{stage, disk, done, total}, 10);
    }
    const TaskProgress task = now();
    ASSERT_GE(task.percentage, before);
    ASSERT_LT(task.percentage, 100);
    for (const auto& step : task.stages)
      ASSERT_TRUE(step.percentage < 100 || step.status == StepProgress::Status::kCompleted);
    before = task.percentage;
  }
}

TEST_F(Progress, RateSettlesOnTheSpeedAndFallsWhenStuck) {
  publish(event::TaskStarted{1, 1000 * kMiB, {Stage::kConvert}});
  publish(event::StageStarted{Stage::kConvert, 0, ""});
  for (uint64_t i = 0; i <= 100; ++i)
    publish(event::DiskProgress{Stage::kConvert, "d0", i * kMiB, 1000 * kMiB}, 100);
  TaskProgress task = now();
  EXPECT_NEAR(task.rate, 10.0 * kMiB, 0.2 * kMiB);
  EXPECT_NEAR(task.average_rate, 10.0 * kMiB, 0.5 * kMiB);
  ASSERT_TRUE(task.eta_seconds);
  EXPECT_NEAR(*task.eta_seconds, 90, 5);
  clock_.advance(std::chrono::seconds(30));
  task = now();
  EXPECT_LT(task.rate, 0.05 * kMiB);
  EXPECT_LT(task.average_rate, 3.0 * kMiB);
}

TEST_F(Progress, FailureKeepsThePercentageAndSaysWhy) {
  publish(event::TaskStarted{1, 100 * kMiB, {Stage::kConvert}});
  publish(event::StageStarted{Stage::kConvert, 0, ""});
  publish(event::DiskProgress{Stage::kConvert, "d0", 100 * kMiB, 100 * kMiB});
  event::TaskFinished finished;
  finished.outcome = Outcome::kFailed;
  finished.error = Error(Code::kNoSpace, "the disk is full").diagnostic();
  publish(finished);
  const TaskProgress task = now();
  EXPECT_EQ(task.status, TaskStatus::kFailed);
  EXPECT_LT(task.percentage, 100);
  EXPECT_EQ(task.error, "the disk is full");
  EXPECT_EQ(task.stages.at(0).status, StepProgress::Status::kFailed);
}

TEST_F(Progress, RunEndCancelsWhatNeverBegan) {
  publish(nullptr, event::RunStarted{"run-1", "plan", "ops", {task_}});
  publish(nullptr, event::RunFinished{"run-1", 0, 0, 1, 0});
  EXPECT_EQ(now().status, TaskStatus::kCancelled);
  EXPECT_TRUE(now().end_time);
}

TEST_F(Progress, KeepsABoundedNumberOfFinishedTasksAndWarnings) {
  for (int i = 0; i < 10; ++i) {
    const auto task = make_task("old-" + std::to_string(i));
    publish(task, event::TaskStarted{}, 1000);
    publish(task, event::TaskFinished{});
  }
  EXPECT_EQ(tracker_.list().size(), 3u);
  EXPECT_TRUE(tracker_.get_progress("old-9"));
  EXPECT_FALSE(tracker_.get_progress("old-6"));

  Diagnostic warning;
  warning.severity = Severity::kWarning;
  for (int i = 0; i < 250; ++i) {
    warning.summary = "warning " + std::to_string(i);
    publish(event::Notice{warning, "export"});
  }
  EXPECT_EQ(now().warnings.size(), 100u);
  EXPECT_EQ(now().warnings.back(), "warning 249");
  EXPECT_EQ(now().warnings_dropped, 150u);
}

TEST_F(Progress, ChangesSinceAVersion) {
  publish(event::TaskStarted{});
  const uint64_t before = tracker_.version();
  const auto other = make_task("t2");
  publish(other, event::TaskStarted{});
  const auto changed = tracker_.changed_since(before);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].info->task_id, "t2");
  EXPECT_EQ(changed[0].version, tracker_.version());
  EXPECT_TRUE(tracker_.changed_since(tracker_.version()).empty());
}

TEST_F(Progress, JsonIsTheDocumentedOne) {
  publish(event::TaskStarted{1, 100 * kMiB, {Stage::kExport, Stage::kConvert}});
  publish(event::StageStarted{Stage::kExport, 0, "streaming into parallel-disk, no staging"}, 1000);
  publish(event::StageStarted{Stage::kConvert, 0, ""});
  publish(event::DiskStarted{Stage::kConvert, "disk-0", 100 * kMiB});
  Diagnostic warning;
  warning.severity = Severity::kWarning;
  warning.summary = "there is no .mf";
  publish(event::Notice{warning, "export"});
  publish(event::DiskProgress{Stage::kConvert, "disk-0", 25 * kMiB, 100 * kMiB}, 1000);
  publish(event::DiskProgress{Stage::kConvert, "disk-0", 50 * kMiB, 100 * kMiB}, 1000);
  const auto golden =
      nlohmann::json::parse(read_file(HYPERHOST_GOLDEN_DIR "/progress.json"), nullptr, false);
  EXPECT_EQ(progress_json(now()), golden) << progress_json(now()).dump(2);
}

TEST_F(Progress, ReadersAndPublishersMayMeet) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      const auto task = make_task("c" + std::to_string(t));
      for (uint64_t i = 0; i < 500; ++i)
        tracker_.on_event(
            {WallClock::now(), task, event::DiskProgress{Stage::kConvert, "d", i, 500}});
    });
  uint64_t seen = 0;
  while (seen < 1500) {
    for (const auto& task : tracker_.changed_since(seen)) seen = task.version;
    (void)tracker_.list();
  }
  EXPECT_EQ(tracker_.list().size(), 3u);
}

}  // namespace
}  // namespace hyperhost
