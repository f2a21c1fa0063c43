// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/watch/metrics/metrics_collector.hpp"
#include "tests/unit/observe/event_fixture.hpp"

namespace hyperhost {
namespace {

using testing::HasSubstr;
using testing::Not;

class Metrics : public testing::Test {
 protected:
  void publish(EventBody body) { publish(task_, std::move(body)); }
  void publish(std::shared_ptr<const TaskInfo> task, EventBody body) {
    collector_.on_event(Event{clock_.wall(), std::move(task), std::move(body)});
  }
  void whole_migration(Outcome outcome = Outcome::kSucceeded) {
    publish(event::TaskStarted{1, 1000, {}});
    publish(event::StageFinished{Stage::kExport, true, 400, std::chrono::seconds(4)});
    publish(event::DiskFinished{Stage::kExport, "d0", true, 400, {}});
    publish(event::StageFinished{Stage::kConvert, true, 1000, std::chrono::seconds(6)});
    publish(event::DiskFinished{Stage::kConvert, "d0", true, 1000, {}});
    event::TaskFinished finished;
    finished.outcome = outcome;
    finished.duration = std::chrono::seconds(7);
    publish(finished);
  }

  ManualClock clock_;
  std::shared_ptr<TaskInfo> task_ = make_task("t1");
  MetricsCollector collector_{{"1.2.3", [this] { return clock_.steady(); }}};
};

TEST_F(Metrics, HasTheSeedsNames) {
  whole_migration();
  clock_.advance(std::chrono::seconds(10));
  const std::string text = collector_.metrics_text();
  for (const char* line :
       {"hypersdk_migrations_total 1\n", "hypersdk_migrations_succeeded 1\n",
        "hypersdk_migrations_failed 0\n", "hypersdk_migrations_active 0\n",
        "hypersdk_export_duration_seconds_count 1\n",
        "hypersdk_conversion_duration_seconds_sum 6\n",
        "hypersdk_upload_duration_seconds_count 0\n", "hypersdk_migration_duration_seconds_sum 7\n",
        "hypersdk_bytes_exported_total 400\n", "hypersdk_bytes_converted_total 1000\n",
        "hypersdk_bytes_uploaded_total 0\n",
        "hypersdk_migrations_by_provider{provider=\"local-ovf\"} 1\n",
        "hypersdk_avg_export_duration_seconds 4\n", "hypersdk_avg_conversion_duration_seconds 6\n",
        "hypersdk_avg_upload_duration_seconds 0\n", "hypersdk_avg_migration_duration_seconds 7\n",
        "hypersdk_uptime_seconds 10\n", "hypersdk_success_rate_percent 100\n", "version=\"1.2.3\""})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST_F(Metrics, NothingHasSucceededOrFailedBeforeTheFirstEnd) {
  publish(event::TaskStarted{});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_success_rate_percent Nan\n"));
  event::TaskFinished skipped;
  skipped.outcome = Outcome::kSkipped;
  publish(skipped);
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_success_rate_percent Nan\n"));
}

TEST_F(Metrics, EveryOutcomeBeginsAtZero) {
  publish(nullptr, event::RunStarted{"run-1", "night", "ops", {task_}});
  for (const char* outcome : {"succeeded", "failed", "cancelled", "skipped"})
    EXPECT_THAT(
        collector_.metrics_text(),
        HasSubstr("hypersdk_migrations_finished_total{converter=\"parallel-disk\",outcome=\"" +
                  std::string(outcome) + "\",provider=\"local-ovf\"} 0\n"));
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_run_active 1\n"));
  event::TaskFinished skipped;
  skipped.outcome = Outcome::kSkipped;
  publish(skipped);
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_migrations_skipped 1\n"));
  publish(nullptr, event::RunFinished{"run-1"});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_run_active 0\n"));
}

TEST_F(Metrics, AVmThatWaitsForItsNextAttemptIsNotActive) {
  publish(event::TaskStarted{});
  publish(event::TaskWaiting{"retry", "attempt 2 at 12:00", {}});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_migrations_active 0\n"));
  publish(event::TaskStarted{});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_migrations_active 1\n"));
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_migrations_total 1\n"));
}

TEST_F(Metrics, BytesMoveDuringADiskAndOnlyOnce) {
  publish(event::TaskStarted{});
  publish(event::DiskStarted{Stage::kConvert, "d0", 1000});
  publish(event::DiskProgress{Stage::kConvert, "d0", 300, 1000});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_bytes_converted_total 300\n"));
  publish(event::DiskProgress{Stage::kConvert, "d0", 700, 1000});
  publish(event::DiskFinished{Stage::kConvert, "d0", true, 1000, {}});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_bytes_converted_total 1000\n"));
  EXPECT_THAT(collector_.metrics_text(),
              HasSubstr("hypersdk_stage_bytes_total{converter=\"parallel-disk\",provider=\"local-"
                        "ovf\",stage=\"convert\"} 1000\n"));
}

TEST_F(Metrics, ReportsOutOfOrderCountOnce) {
  publish(event::TaskStarted{});
  for (const uint64_t done : {500u, 490u, 700u, 690u})
    publish(event::DiskProgress{Stage::kExport, "d0", done, 1000});
  publish(event::DiskFinished{Stage::kExport, "d0", true, 650, {}});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_bytes_exported_total 700\n"));
}

TEST_F(Metrics, RepeatedBytesCountAgain) {
  publish(event::TaskStarted{});
  publish(event::DiskProgress{Stage::kExport, "d0", 600, 1000});
  publish(event::Retry{"export", "d0", 1, {}, {}});
  publish(event::DiskStarted{Stage::kExport, "d0", 1000});
  publish(event::DiskProgress{Stage::kExport, "d0", 1000, 1000});
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_bytes_exported_total 1600\n"));
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_retries_total{stage=\"export\"} 1\n"));
}

TEST_F(Metrics, LabelValuesAreBounded) {
  for (int i = 0; i < 200; ++i) {
    auto task = make_task("t" + std::to_string(i));
    task->provider = "provider-" + std::to_string(i);
    publish(task, event::TaskStarted{});
  }
  auto task = make_task("long");
  task->provider = std::string(1000, 'x');
  publish(task, event::TaskStarted{});
  const std::string text = collector_.metrics_text();
  EXPECT_THAT(text, HasSubstr("hypersdk_migrations_by_provider{provider=\"provider-31\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("provider-32")));
  EXPECT_THAT(text, Not(HasSubstr("xxxx")));
  EXPECT_THAT(text, HasSubstr("hypersdk_migrations_by_provider{provider=\"other\"} 169\n"));
}

TEST_F(Metrics, StatsAreTheSeeds) {
  whole_migration();
  whole_migration(Outcome::kFailed);
  clock_.advance(std::chrono::seconds(30));
  const auto golden =
      nlohmann::json::parse(read_file(HYPERHOST_GOLDEN_DIR "/stats.json"), nullptr, false);
  EXPECT_EQ(collector_.get_stats(), golden) << collector_.get_stats().dump(2);
}

TEST_F(Metrics, AStageThatTheSeedDoesNotKnowIsInTheStatsAfterItsFirstEnd) {
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_bytes_booted_total 0\n"));
  EXPECT_FALSE(collector_.get_stats()["bytes"].contains("booted"));
  publish(event::TaskStarted{});
  publish(event::StageFinished{Stage::kBoot, true, 0, std::chrono::seconds(9)});
  const auto stats = collector_.get_stats();
  EXPECT_EQ(stats["bytes"]["booted"], 0);
  EXPECT_EQ(stats["durations"]["boot_total"], 9.0);
  EXPECT_EQ(stats["durations"]["boot_avg"], 9.0);
}

TEST_F(Metrics, ReadersAreAskedAtEachScrape) {
  double length = 3;
  collector_.add_gauge("hypersdk_queue_length", "Entries waiting.", {{"queue", "webhook"}},
                       [&] { return length; });
  collector_.add_counter("hypersdk_things_total", "Things.", {}, [&] { return length * 2; });
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_queue_length{queue=\"webhook\"} 3\n"));
  length = 5;
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_queue_length{queue=\"webhook\"} 5\n"));
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_things_total 10\n"));
  collector_.remove_reader("hypersdk_queue_length", {{"queue", "webhook"}});
  length = 9;
  EXPECT_THAT(collector_.metrics_text(), HasSubstr("hypersdk_queue_length{queue=\"webhook\"} 5\n"));
}

TEST_F(Metrics, ProcessFiguresAreReal) {
  const std::string text = collector_.metrics_text();
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
  EXPECT_THAT(text, Not(HasSubstr("process_open_fds 0\n")));
  EXPECT_THAT(text, Not(HasSubstr("process_threads 0\n")));
}

}  // namespace
}  // namespace hyperhost
