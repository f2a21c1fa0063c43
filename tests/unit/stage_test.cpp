// SPDX-License-Identifier: Apache-2.0
// What a new stage costs: this file's class, one row of the table, one key that the row looks at.
#include "core/migrate/vm_stage.hpp"

#include <gmock/gmock.h>

#include "core/migrate/vm_run.hpp"
#include "core/watch/progress/progress_tracker.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr StageRow kRestRow = {
    5, "rest", "rest", "resting", "rest_progress", "rested", "Bytes left alone.", false};

/// Does nothing, and says so.
class Rest final : public VmStage {
 public:
  std::vector<Stage> announces(const MigrationConfig&) const override { return {Stage(kRestRow)}; }
  void check(VmCheck& check) override {
    if (check.job.tags.at("rest") == "never")
      check.error(Code::kConfig, "", "this VM never rests", "set the tag rest: short");
  }
  void run(VmRun& run) override {
    MemoryWorld::here().call("rest " + run.route.vm.name);
    run.undo.push([] { MemoryWorld::here().call("rest is over"); });
    run.stages.announce(Stage(kRestRow), 0, "nothing to do");
    run.stages.begin(Stage(kRestRow));
    run.stages.end(Stage(kRestRow), true, 0);
  }
};

class NewStage : public MemoryHost {
 protected:
  NewStage() { add_vm("web", {"aaaa"}); }
  SessionServices with_rest() const {
    auto table = std::make_shared<VmStageTable>(vm_stage_table());
    table->insert(table->begin() + 2,
                  {[](const MigrationConfig& job) { return job.tags.contains("rest"); },
                   [] { return std::make_unique<Rest>(); }});
    SessionServices out = services();
    out.stages = table;
    return out;
  }
  MigrationConfig resting(const std::string& how) const {
    MigrationConfig out = config("web");
    out.tags["rest"] = how;
    return out;
  }
};

TEST_F(NewStage, RunsAtItsPlaceWhereTheJobAsksForIt) {
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator orchestrator(config_of, registry_, with_rest());
  ASSERT_TRUE(orchestrator.migrate(config("web"), cancel_).success);
  EXPECT_EQ(world_.count("rest web"), 0u);
  std::filesystem::remove_all(file("web"));
  const MigrationResult result = orchestrator.migrate(resting("short"), cancel_);
  ASSERT_TRUE(result.success) << result.error;
  const auto calls = world_.calls();
  const auto at = [&](const std::string& call) {
    return std::find(calls.begin(), calls.end(), call) - calls.begin();
  };
  EXPECT_LT(at("commit web/web-disk-0.raw"), at("rest web"));
  const auto task = orchestrator.get_progress_tracker()->get_progress(result.task_id);
  ASSERT_TRUE(task);
  EXPECT_THAT(task->planned, ElementsAre(Stage::kExport, Stage::kConvert, Stage(kRestRow)));
  EXPECT_EQ(progress_json(*task)["rest_progress"]["status"], "completed");
  EXPECT_THAT(orchestrator.get_metrics_collector()->metrics_text(),
              HasSubstr("hypersdk_rest_duration_seconds_count 1"));
}

TEST_F(NewStage, ItsCheckIsPartOfPreflightAndItsUndoOfTheRollback) {
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator orchestrator(config_of, registry_, with_rest());
  const VmRoute route = orchestrator.preflight(resting("never"), cancel_);
  ASSERT_EQ(route.findings.size(), 1u);
  EXPECT_EQ(route.findings[0].summary, "this VM never rests");
  world_.on_call = [](const std::string& call) {
    if (call == "commit web/manifest.json") throw hyper::Error(HYPER_CORRUPT, "no");
  };
  EXPECT_FALSE(orchestrator.migrate(resting("short"), cancel_).success);
  EXPECT_THAT(world_.calls(), Contains("rest is over"));
}

/// "upload (memory://bucket)" of each stage, as the run log writes it.
class Begun final : public Observer {
 public:
  void on_event(const Event& event) noexcept override {
    const auto* stage = std::get_if<event::StageStarted>(&event.body);
    if (stage == nullptr) return;
    const std::lock_guard lock(mutex_);
    texts_.push_back(std::string(stage_name(stage->stage)) + " (" + stage->description + ")");
  }
  std::vector<std::string> texts() const {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> texts_;
};

class Stages : public MemoryHost {};

// A disk that is written straight into the store begins the upload before the stage of that name.
TEST_F(Stages, AnUploadNamesItsDestinationWhoeverBeginsIt) {
  add_vm("web", {"aaaa", "bbbb"});
  for (const bool keep_local : {true, false}) {
    MigrationConfig wanted = uploading("web");
    wanted.keep_local = keep_local;
    wanted.verify_export = Verify::kTarget;
    wanted.fresh = wanted.overwrite = wanted.upload_overwrite = true;
    Begun begun;
    MigrationOrchestrator all = orchestrator();
    all.events().subscribe(&begun);
    const MigrationResult result = all.migrate(wanted, cancel_);
    ASSERT_TRUE(result.success) << result.error;
    EXPECT_EQ(result.disks.at(0).path.starts_with("memory://"), !keep_local);
    const auto texts = begun.texts();
    EXPECT_EQ(std::count(texts.begin(), texts.end(), "upload (memory://bucket)"), 1);
    for (const std::string& text : texts) EXPECT_EQ(text.find("()"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace hyperhost::testing_memory
