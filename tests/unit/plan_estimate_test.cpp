// SPDX-License-Identifier: Apache-2.0
// What a plan is expected to move and to fill, summed over its VMs.
#include "core/run/plan_estimate.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/base/timestamp.hpp"

namespace hyperhost {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1u << 20, kGiB = 1u << 30;

DiskRoute disk(const std::string& format, uint64_t capacity, std::optional<uint64_t> stored) {
  DiskRoute out;
  out.disk.id = "disk-0";
  out.disk.format = format;
  out.disk.capacity_bytes = capacity;
  out.disk.source_bytes = stored;
  out.target_format = "qcow2";
  return out;
}

VmRoute vm_with(std::vector<DiskRoute> disks) {
  VmRoute out;
  out.vm.name = "web";
  out.disks = std::move(disks);
  return out;
}

/// A history of one run.
class OneRun final : public RunState {
 public:
  OneRun(Millis started, Millis ended, std::vector<TaskRecord> tasks) : tasks_(std::move(tasks)) {
    run_.started = started;
    run_.ended = ended;
  }
  void begin_run(const RunRecord&, const std::vector<TaskRecord>&) override {}
  void end_run(const std::string&) override {}
  std::unique_ptr<Group> update() override { return nullptr; }
  void save_result(const std::string&, const nlohmann::json&) override {}
  std::vector<RunRecord> runs(std::size_t) override { return {run_}; }
  std::optional<RunRecord> run(const std::string&) override { return run_; }
  std::vector<TaskRecord> tasks(const std::string&) override { return tasks_; }
  std::optional<TaskDetail> task(const std::string& id) override {
    for (const TaskRecord& task : tasks_)
      if (task.task_id == id) return TaskDetail{task, {}, {}, {}, {{"already_done", false}}};
    return std::nullopt;
  }
  std::vector<std::string> find_tasks(const std::string&) override { return {}; }
  bool request_cancel(const std::string&) override { return false; }
  std::vector<std::string> cancel_requests(const std::string&) override { return {}; }

 private:
  RunRecord run_;
  const std::vector<TaskRecord> tasks_;
};

TaskRecord task_of(const std::string& id, Millis started, Millis ended) {
  TaskRecord out;
  out.task_id = id;
  out.status = "succeeded";
  out.started = started;
  out.ended = ended;
  out.guest_bytes = kGiB;
  return out;
}

class Estimate : public testing::Test {
 protected:
  Estimate() {
    job_.output_dir = std::filesystem::temp_directory_path() / "not-made-yet";
    batch_.max_parallel = 2;
  }
  /// The same VM so many times.
  PlanEstimate of(const VmRoute& route, int vms) {
    PlanEstimator estimator(batch_);
    for (int i = 0; i < vms; ++i) estimator.add(job_, route);
    return estimator.result(0, 0, nullptr);
  }

  MigrationConfig job_;
  BatchOptions batch_;
};

TEST_F(Estimate, VmsWhoseWindowsOpenLaterAreNamedBesideTheTime) {
  std::string why;
  const auto now = parse_timestamp("2026-01-02T20:00:00Z");
  const VmRoute route = vm_with({disk("raw", kGiB, kGiB)});
  PlanEstimator estimator(batch_, *now);
  estimator.add(job_, route);
  EXPECT_EQ(estimator.result(kMiB, 0, nullptr).later, 0u);
  for (const char* opens :
       {"2026-01-02T22:00:00Z", "2026-01-03T02:00:00Z", "2026-01-02T19:00:00Z"}) {
    job_.window = *StartWindow::parse(opens, "", why);
    estimator.add(job_, route);
  }
  const PlanEstimate found = estimator.result(kMiB, 0, nullptr);
  EXPECT_EQ(found.later, 2u);
  EXPECT_EQ(found.last_opens, parse_timestamp("2026-01-03T02:00:00Z"));
  EXPECT_EQ(found.to_json()["last_window_opens"], "2026-01-03T02:00:00Z");
}

TEST_F(Estimate, TheTimeAnEarlierRunWaitedSaysNothingOfItsSpeed) {
  // Two VMs beside each other for three seconds, and one after seventeen hours for a second.
  OneRun state(
      1000, 61'204'000,
      {task_of("a", 1000, 3000), task_of("b", 2000, 4000), task_of("c", 61'203'000, 61'204'000)});
  PlanEstimator estimator(batch_);
  estimator.add(job_, vm_with({disk("raw", 3 * kGiB, 3 * kGiB)}));
  const PlanEstimate found = estimator.result(0, 0, &state);
  ASSERT_TRUE(found.longest);
  EXPECT_NEAR(std::chrono::duration<double>(*found.longest).count(), 4, 0.01);
}

TEST_F(Estimate, ACompressedSourceCountsWithWhatAGuestSees) {
  const PlanEstimate found = of(vm_with({disk("vmdk", 10 * kGiB, 100 * kMiB)}), 8);
  EXPECT_EQ(found.vms, 8u);
  EXPECT_EQ(found.guest_bytes, 80 * kGiB);
  EXPECT_EQ(found.move_bytes, 800 * kMiB);
  ASSERT_EQ(found.places.size(), 1u);
  EXPECT_EQ(found.places[0].vms, 8u);
  EXPECT_EQ(found.places[0].least, 800 * kMiB);
  EXPECT_GE(found.places[0].worst, 80 * kGiB);
  EXPECT_LT(found.places[0].worst, 81 * kGiB);
  EXPECT_TRUE(found.places[0].free_bytes) << "of what of the directory's path exists";
}

TEST_F(Estimate, CompressionPromisesNothingAndMayGainNothing) {
  job_.convert_options.compression = Compression::kZstd;
  DiskRoute raw = disk("raw", 10 * kGiB, 10 * kGiB);
  raw.disk.allocated_bytes = 4 * kGiB;
  const PlanEstimate found = of(vm_with({raw}), 1);
  EXPECT_EQ(found.places.at(0).least, 0u);
  EXPECT_GE(found.places.at(0).worst, 4 * kGiB);
  EXPECT_LT(found.places.at(0).worst, 5 * kGiB) << "holes are never more than holes";
  EXPECT_EQ(found.move_bytes, 4 * kGiB);
}

TEST_F(Estimate, WhatDoesNotStayCountsForThoseThatRunAtOnce) {
  job_.upload_to_cloud = true;
  job_.keep_local = false;
  const PlanEstimate found = of(vm_with({disk("vmdk", kGiB, 100 * kMiB)}), 8);
  EXPECT_GE(found.places.at(0).worst, 2 * kGiB);
  EXPECT_LT(found.places.at(0).worst, 3 * kGiB);
  EXPECT_EQ(found.places.at(0).least, 0u);
}

TEST_F(Estimate, DisksThatGoStraightToTheStoreTakeNothingHere) {
  DiskRoute direct = disk("vmdk", kGiB, 100 * kMiB);
  direct.direct_upload = true;
  EXPECT_TRUE(of(vm_with({direct}), 3).places.empty());
}

TEST_F(Estimate, WhatIsNotKnownIsSaid) {
  EXPECT_TRUE(of(vm_with({disk("vmdk", 0, 100 * kMiB)}), 1).at_least);
  const PlanEstimate lease = of(vm_with({disk("vmdk", kGiB, std::nullopt)}), 1);
  EXPECT_TRUE(lease.at_most);
  EXPECT_EQ(lease.move_bytes, kGiB);
  EXPECT_FALSE(lease.shortest) << "nothing says how fast it will be";
}

TEST_F(Estimate, AFinishedVmTakesNothing) {
  VmRoute done = vm_with({disk("vmdk", kGiB, 100 * kMiB)});
  done.finished = true;
  const PlanEstimate found = of(done, 2);
  EXPECT_EQ(found.done_before, 2u);
  EXPECT_EQ(found.guest_bytes, 2 * kGiB);
  EXPECT_EQ(found.todo_bytes, 0u);
  EXPECT_TRUE(found.places.empty());
}

TEST_F(Estimate, ALimitBoundsTheTime) {
  PlanEstimator estimator(batch_);
  estimator.add(job_, vm_with({disk("vmdk", 10 * kGiB, 3600 * kMiB)}));
  const PlanEstimate found = estimator.result(kMiB, 0, nullptr);
  ASSERT_TRUE(found.shortest);
  EXPECT_EQ(*found.shortest, std::chrono::hours(1));
  EXPECT_FALSE(found.longest);
  EXPECT_EQ(found.basis, "by source_bandwidth_limit");
}

PlanEstimate with_place(uint64_t least, uint64_t worst, std::optional<uint64_t> free_bytes) {
  PlanEstimate out;
  out.places.push_back({"/srv/out", 8, least, worst, free_bytes});
  return out;
}

TEST(SpaceFindings, TheSumIsComparedWithWhatIsFree) {
  EXPECT_TRUE(space_findings(with_place(1 * kGiB, 2 * kGiB, 2 * kGiB)).empty());
  EXPECT_TRUE(space_findings(with_place(1 * kGiB, 2 * kGiB, std::nullopt)).empty());
  const auto perhaps = space_findings(with_place(1 * kGiB, 3 * kGiB, 2 * kGiB));
  ASSERT_EQ(perhaps.size(), 1u);
  EXPECT_EQ(perhaps[0].severity, Severity::kWarning);
  EXPECT_THAT(to_string(perhaps[0]),
              HasSubstr("/srv/out may run full: 8 VMs take up to 3.00 GiB, 2.00 GiB are free"));
  const auto surely = space_findings(with_place(3 * kGiB, 4 * kGiB, 2 * kGiB));
  ASSERT_EQ(surely.size(), 1u);
  EXPECT_EQ(surely[0].severity, Severity::kError);
  EXPECT_THAT(to_string(surely[0]),
              HasSubstr("not enough space in /srv/out: 8 VMs take at least 3.00 GiB"));
}

}  // namespace
}  // namespace hyperhost
