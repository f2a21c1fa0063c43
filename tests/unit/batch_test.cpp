// SPDX-License-Identifier: Apache-2.0
// The order of a plan's VMs: priorities, dependencies, limits, windows, retries, stops.
#include "core/run/batch_orchestrator.hpp"

#include <gmock/gmock.h>

#include <thread>

#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Batch : public MemoryHost {
 protected:
  Batch() {
    batch_.checked = 100;  // no look-ahead unless a test wants it
    for (const char* name : {"a", "b", "c"}) {
      add_vm(name, {std::string(4, *name)});
      configs_.push_back(config(name));
    }
  }
  std::vector<MigrationResult> run() {
    OrchestratorConfig config;
    config.providers = providers();
    orchestrator_ = std::make_unique<MigrationOrchestrator>(config, registry_, services());
    return orchestrator_->migrate_batch(configs_, batch_, cancel_);
  }
  std::vector<std::string> opened() const {
    std::vector<std::string> out;
    for (const std::string& call : world_.calls())
      if (call.rfind("open ", 0) == 0 && call.size() == 6) out.push_back(call.substr(5));
    return out;
  }
  static std::vector<Outcome> outcomes(const std::vector<MigrationResult>& results) {
    std::vector<Outcome> out;
    for (const MigrationResult& result : results) out.push_back(result.outcome);
    return out;
  }
  void fail(const std::string& at, hyper_st code, int times = 1 << 30) {
    auto left = std::make_shared<std::atomic<int>>(times);
    world_.on_call = [=](const std::string& call) {
      if (call == at && (*left)-- > 0) {
        hyper::Error error(code, "made to fail");
        error.retryable();
        throw error;
      }
    };
  }
  /// How many VMs are at one place at once: each waits a moment for the others.
  struct Together {
    std::mutex mutex;
    std::condition_variable changed;
    int now = 0, most = 0;
    void meet(int wanted) {
      std::unique_lock lock(mutex);
      most = std::max(most, ++now);
      changed.notify_all();
      changed.wait_for(lock, std::chrono::milliseconds(300), [&] { return most >= wanted; });
      --now;
    }
  };

  std::vector<MigrationConfig> configs_;
  BatchOptions batch_;
  std::unique_ptr<MigrationOrchestrator> orchestrator_;
};

TEST_F(Batch, ThePriorityDecidesAndThenThePlansOrder) {
  configs_[2].priority = 1;
  const auto results = run();
  EXPECT_THAT(opened(), ElementsAre("c", "a", "b"));
  EXPECT_EQ(results.at(0).vm_name, "a");  // results in the plan's order all the same
}

TEST_F(Batch, AVmWaitsForThoseItDependsOn) {
  configs_[1].plan_id = "db";
  configs_[0].depends_on = {"db"};
  batch_.max_parallel = 3;
  run();
  const auto order = opened();
  EXPECT_LT(std::find(order.begin(), order.end(), "b"), std::find(order.begin(), order.end(), "a"));
}

TEST_F(Batch, AVmIsSkippedWhereOneItDependsOnFails) {
  configs_[1].plan_id = "db";
  configs_[0].depends_on = {"db"};
  fail("open b", HYPER_CORRUPT);
  const auto results = run();
  EXPECT_THAT(outcomes(results),
              ElementsAre(Outcome::kSkipped, Outcome::kFailed, Outcome::kSucceeded));
  EXPECT_THAT(results[0].error, HasSubstr("'db', which it depends on, did not succeed"));
}

TEST_F(Batch, WithoutContinueOnErrorTheRestIsSkipped) {
  batch_.continue_on_error = false;
  fail("open a", HYPER_CORRUPT);
  EXPECT_THAT(outcomes(run()), ElementsAre(Outcome::kFailed, Outcome::kSkipped, Outcome::kSkipped));
}

TEST_F(Batch, AFailureThatMayPassIsTriedAgain) {
  batch_.max_retries = 2;
  fail("open a", HYPER_IO, 2);
  const auto results = run();
  EXPECT_TRUE(results[0].success) << results[0].error;
  EXPECT_EQ(results[0].attempts, 3u);
}

TEST_F(Batch, ARetryWaitsAndHoldsNoPlaceMeanwhile) {
  batch_.max_retries = 1;
  batch_.retry_delay = std::chrono::seconds(60);
  fail("open a", HYPER_IO, 1);
  std::thread later([&] {
    while (world_.count("close c") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    clock_->advance(std::chrono::seconds(100));
  });
  const auto results = run();
  later.join();
  EXPECT_THAT(opened(), ElementsAre("a", "b", "c", "a"));
  EXPECT_TRUE(results[0].success);
  EXPECT_GE(results[0].total_duration, std::chrono::seconds(60));
}

TEST_F(Batch, AFailureThatCannotPassIsNotTriedAgain) {
  batch_.max_retries = 2;
  fail("open a", HYPER_AUTH);
  const auto results = run();
  EXPECT_EQ(results[0].attempts, 1u);
  EXPECT_EQ(opened().size(), 3u);
}

TEST_F(Batch, SoManyRunAtOnce) {
  Together together;
  batch_.max_parallel = 2;
  world_.on_call = [&](const std::string& call) {
    if (call.rfind("half ", 0) == 0) together.meet(3);
  };
  run();
  EXPECT_EQ(together.most, 2);
}

TEST_F(Batch, WhatIsSwitchedOffRunsOneAtATime) {
  OrchestratorConfig one_vm, one_disk;
  one_vm.enable_batch_orchestration = one_disk.enable_parallel_conversion = false;
  add_vm("pair", {"pppp", "qqqq"});
  MigrationConfig pair = config("pair"), own = pair, own_options = pair;
  pair.max_parallel_disks = own.max_parallel_disks = own_options.max_parallel_disks = 2;
  own.parallel_disks = own_options.convert_options.enable_parallel = false;
  batch_.max_parallel = 3;
  const auto most = [&](OrchestratorConfig config, const std::vector<MigrationConfig>& vms) {
    Together together;
    world_.on_call = [&](const std::string& call) {
      if (call.rfind("half ", 0) == 0) together.meet(2);
    };
    config.providers = providers();
    MigrationOrchestrator orchestrator(config, registry_, services());
    for (const auto& result : orchestrator.migrate_batch(vms, batch_, cancel_))
      EXPECT_TRUE(result.success) << result.error;
    std::filesystem::remove_all(directory_ / "pair");
    return together.most;
  };
  EXPECT_EQ(most(one_vm, configs_), 1);
  EXPECT_EQ(most({}, {pair}), 2);
  EXPECT_EQ(most(one_disk, {pair}), 1);
  EXPECT_EQ(most({}, {own}), 1);
  EXPECT_EQ(most({}, {own_options}), 1);
}

TEST_F(Batch, AProvidersLimitHolds) {
  Together together;
  batch_.max_parallel = 3;
  batch_.per_provider = 1;
  world_.on_call = [&](const std::string& call) {
    if (call.rfind("half ", 0) == 0) together.meet(2);
  };
  run();
  EXPECT_EQ(together.most, 1);
}

TEST_F(Batch, AHostsLimitHoldsAndOtherHostsRunOn) {
  Together together;
  batch_.max_parallel = 3;
  batch_.per_host = 1;
  world_.vms["a"].host = world_.vms["b"].host = "esx-1";
  world_.vms["c"].host = "esx-2";
  world_.on_call = [&](const std::string& call) {
    if (call.rfind("half ", 0) == 0) together.meet(3);
  };
  run();
  EXPECT_EQ(together.most, 2);
}

TEST_F(Batch, ACancelEndsWhatRunsAndWhatWaits) {
  world_.on_call = [&](const std::string& call) {
    if (call == "open a") cancel_->cancel();
  };
  EXPECT_THAT(outcomes(run()),
              ElementsAre(Outcome::kCancelled, Outcome::kCancelled, Outcome::kCancelled));
}

TEST_F(Batch, ADrainFinishesWhatRuns) {
  world_.on_call = [&](const std::string& call) {
    if (call == "half aaaa") orchestrator_->draining()->cancel();
  };
  const auto results = run();
  EXPECT_THAT(outcomes(results),
              ElementsAre(Outcome::kSucceeded, Outcome::kCancelled, Outcome::kCancelled));
  EXPECT_EQ(results[1].error, "not begun: the run is being drained");
}

TEST_F(Batch, ACancelledTaskEndsAlone) {
  for (MigrationConfig& config : configs_) config.task_id = "task-" + config.vm_name;
  world_.on_call = [&](const std::string& call) {
    if (call == "open a") orchestrator_->cancel("task-b");
  };
  EXPECT_THAT(outcomes(run()),
              ElementsAre(Outcome::kSucceeded, Outcome::kCancelled, Outcome::kSucceeded));
}

TEST_F(Batch, AStartWindowIsWaitedForByTheSessionsClock) {
  std::string why;  // the session's clock begins at 03:04:05 of that day
  configs_[0].window = StartWindow::parse("2026-01-02T04:00:00Z", "", why).value();
  std::thread later([&] {
    while (world_.count("close c") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    clock_->advance(std::chrono::hours(2));
  });
  const auto results = run();
  later.join();
  EXPECT_THAT(opened(), ElementsAre("b", "c", "a"));
  EXPECT_TRUE(results[0].success);
}

TEST_F(Batch, AStartWindowThatIsOverSkipsTheVm) {
  std::string why;
  configs_[0].window = StartWindow::parse("", "2026-01-02T02:00:00Z", why).value();
  const auto results = run();
  EXPECT_EQ(results[0].outcome, Outcome::kSkipped);
  EXPECT_EQ(results[0].error, "not begun: its start window is over");
}

/// Keeps why VMs wait, and the order in which VMs end.
class Waits final : public Observer {
 public:
  void on_event(const Event& event) noexcept override {
    const std::lock_guard lock(mutex_);
    if (const auto* waiting = std::get_if<event::TaskWaiting>(&event.body))
      reasons_[event.task->vm_name].push_back(*waiting);
    if (std::holds_alternative<event::TaskFinished>(event.body))
      ended_.push_back(event.task->vm_name);
  }
  std::vector<event::TaskWaiting> of(const std::string& vm) const {
    const std::lock_guard lock(mutex_);
    const auto found = reasons_.find(vm);
    return found == reasons_.end() ? std::vector<event::TaskWaiting>() : found->second;
  }
  bool ended(const std::string& vm) const {
    const std::lock_guard lock(mutex_);
    return std::find(ended_.begin(), ended_.end(), vm) != ended_.end();
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<event::TaskWaiting>> reasons_;
  std::vector<std::string> ended_;
};

TEST_F(Batch, WhyAVmWaitsIsReported) {
  Waits waits;
  std::string why;
  configs_[1].window = StartWindow::parse("2026-01-02T04:00:00Z", "", why).value();
  configs_[2].plan_id = "db";
  configs_.push_back(config("d"));
  add_vm("d", {"dddd"});
  configs_[3].depends_on = {"db"};
  batch_.max_retries = 1;
  batch_.retry_delay = std::chrono::seconds(60);
  fail("open a", HYPER_IO, 1);
  const auto failing = world_.on_call;
  world_.on_call = [&](const std::string& call) {
    failing(call);
    for (int i = 0; call == "half cccc" && i < 5000; ++i) {  // until all of them were reported
      if (!waits.of("a").empty() && !waits.of("b").empty() && !waits.of("d").empty()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (call == "half cccc") clock_->advance(std::chrono::hours(2));
  };
  OrchestratorConfig config;
  config.providers = providers();
  MigrationOrchestrator orchestrator(config, registry_, services());
  orchestrator.events().subscribe(&waits);
  const auto results = orchestrator.migrate_batch(configs_, batch_, cancel_);
  for (const MigrationResult& result : results) EXPECT_TRUE(result.success) << result.error;
  const auto retry = waits.of("a");
  EXPECT_TRUE(std::any_of(retry.begin(), retry.end(), [](const auto& one) {
    return one.reason == "retry" && one.text.rfind("attempt 2 at 2026-01-02T03:05:", 0) == 0 &&
           one.until;
  }));
  const auto window = waits.of("b");
  EXPECT_TRUE(std::any_of(window.begin(), window.end(), [](const auto& one) {
    return one.reason == "window" && one.text == "its start window opens at 2026-01-02T04:00:00Z" &&
           one.until;
  }));
  const auto dependency = waits.of("d");
  EXPECT_TRUE(std::any_of(dependency.begin(), dependency.end(), [](const auto& one) {
    return one.reason == "dependency" && one.text == "for 'db', which it depends on";
  }));
}

TEST_F(Batch, ALimitThatIsReachedIsNamed) {
  Waits waits;
  batch_.max_parallel = 3;
  batch_.per_provider = 1;
  world_.on_call = [&](const std::string& call) {
    for (int i = 0; call == "half aaaa" && waits.of("b").empty() && i < 5000; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  OrchestratorConfig config;
  config.providers = providers();
  MigrationOrchestrator orchestrator(config, registry_, services());
  orchestrator.events().subscribe(&waits);
  orchestrator.migrate_batch(configs_, batch_, cancel_);
  ASSERT_FALSE(waits.of("b").empty());
  EXPECT_EQ(waits.of("b").back().reason, "limit");
  EXPECT_EQ(waits.of("b").back().text, "per_provider: 1 at once from provider lab");
}

TEST_F(Batch, WhatDependsOnAFailedVmIsSkippedWhileAnotherHoldsThePlace) {
  Waits waits;
  configs_[0].plan_id = "db";
  configs_[2].depends_on = {"db"};
  fail("open a", HYPER_CORRUPT);
  const auto failing = world_.on_call;
  bool skipped_meanwhile = false;
  world_.on_call = [&](const std::string& call) {
    failing(call);
    for (int i = 0; call == "half bbbb" && i < 5000; ++i) {
      skipped_meanwhile = skipped_meanwhile || waits.ended("c");
      if (skipped_meanwhile) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  OrchestratorConfig config;
  config.providers = providers();
  MigrationOrchestrator orchestrator(config, registry_, services());
  orchestrator.events().subscribe(&waits);
  const auto results = orchestrator.migrate_batch(configs_, batch_, cancel_);
  EXPECT_TRUE(skipped_meanwhile);
  EXPECT_THAT(outcomes(results),
              ElementsAre(Outcome::kFailed, Outcome::kSucceeded, Outcome::kSkipped));
}

TEST_F(Batch, WhatWillFailIsSaidWhileOthersRun) {
  class Notices final : public Observer {
   public:
    void on_event(const Event& event) noexcept override {
      if (const auto* notice = std::get_if<event::Notice>(&event.body); notice && event.task)
        if (event.task->vm_name == "b") seen = true;
    }
    std::atomic<bool> seen{false};
  } notices;
  batch_.checked = 0;
  configs_[1].target_format = "qcow2";
  OrchestratorConfig config;
  config.providers = providers();
  MigrationOrchestrator orchestrator(config, registry_, services());
  orchestrator.events().subscribe(&notices);
  world_.on_call = [&](const std::string& call) {
    // The first VM does not end before the second one's mistake is known.
    for (int i = 0; call == "half aaaa" && !notices.seen && i < 2000; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  orchestrator.migrate_batch(configs_, batch_, cancel_);
  EXPECT_TRUE(notices.seen);
  EXPECT_EQ(world_.count("open b"), 0u);
}

}  // namespace
}  // namespace hyperhost::testing_memory
