// SPDX-License-Identifier: Apache-2.0
// A plan run by a program that links the core: no command line, plugins in the process.
#include "core/run/plan_run.hpp"
#include "core/vm/route.hpp"

#include <gmock/gmock.h>

#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::HasSubstr;

class PlanRuns : public MemoryHost {
 protected:
  PlanRuns() { add_vm("web", {"aaaa", "bbbb"}); }
  std::string plan(const std::string& more = {}) const {
    return "version: 1\nproviders:\n  lab: {plugin: memory-vms}\n"
           "converter: memory-convert\n"
           "output_dir: " +
           (directory_ / "out").string() +
           "\n"
           "defaults: {target_format: raw, verify: none}\n"
           "migrations:\n  - {vm: web, provider: lab" +
           more + "}\n";
  }
  std::unique_ptr<PlanRun> made(const std::string& text) {
    PlanRunOptions options;
    options.plan = (directory_ / "night.yaml").string();
    options.text = text;
    const auto registry = [this](const std::vector<std::string>&) -> PluginRegistry& {
      return registry_;
    };
    return std::make_unique<PlanRun>(PlanHost{registry, cancel_, directory_ / "state"}, options);
  }
  static std::string said(const PlanRun& run) {
    std::string out;
    for (const Diagnostic& one : run.diagnostics()) out += to_string(one) + "\n";
    return out;
  }
};

TEST_F(PlanRuns, GoesFromItsTextToItsResultsAndIsDoneThen) {
  {
    const auto run = made(plan());
    ASSERT_EQ(run->prepare(), PlanStatus::kReady) << said(*run);
    EXPECT_EQ(run->guest_bytes(), 8u);
    ASSERT_EQ(run->start(), PlanStatus::kReady) << said(*run);
    std::atomic<int> seen{0};
    const auto results = run->run([&](const MigrationResult&) { ++seen; });
    ASSERT_EQ(results.size(), 1u);
    EXPECT_TRUE(results[0].success) << results[0].error;
    EXPECT_EQ(seen, 1);
    EXPECT_TRUE(run->finish().empty());
  }
  EXPECT_EQ(content("out/web/web-disk-1.raw"), "bbbb");
  const auto again = made(plan());
  ASSERT_EQ(again->prepare(), PlanStatus::kReady) << said(*again);
  ASSERT_EQ(again->start(), PlanStatus::kReady);
  EXPECT_TRUE(again->run().at(0).already_done);
}

TEST_F(PlanRuns, ACheckMakesNothing) {
  const auto run = made(plan());
  ASSERT_EQ(run->check(), PlanStatus::kReady) << said(*run);
  ASSERT_EQ(run->routes().size(), 1u);
  EXPECT_TRUE(run->routes()[0].possible());
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(PlanRuns, APatternsVmsHaveTheirNamesAndAreFoundByTheirReferences) {
  world_.vms.clear();
  for (const char* name : {"web-1", "web-2", "web-test"}) {
    add_vm(name, {"aaaa"});
    world_.vms["vm-" + std::string(name)] = world_.vms[name];
    world_.vms.erase(name);
  }
  std::string text = plan(", exclude: [web-test, web-9]");
  text.replace(text.find("vm: web,"), 8, "vm: \"web-*\",");
  const auto run = made(text);
  ASSERT_EQ(run->prepare(), PlanStatus::kReady) << said(*run);
  EXPECT_THAT(said(*run), HasSubstr("exclude 'web-9' matches no VM"));
  EXPECT_EQ(run->estimate().vms, 2u);
  ASSERT_EQ(run->start(), PlanStatus::kReady) << said(*run);
  const auto results = run->run();
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].vm_name, "web-1");
  EXPECT_EQ(results[1].vm_name, "web-2");
  EXPECT_TRUE(results[0].success && results[1].success) << results[0].error << results[1].error;
  EXPECT_GT(world_.count("describe vm-web-1"), 0u);
  EXPECT_EQ(world_.count("describe vm-web-test"), 0u);
}

TEST_F(PlanRuns, ATreeThatIsMissingIsNotMade) {
  std::string text = plan();
  const std::string out = (directory_ / "out").string();
  text.replace(text.find(out), out.size(), (directory_ / "typo/in/out").string());
  const auto run = made(text);
  EXPECT_EQ(run->prepare(), PlanStatus::kCannotRun);
  EXPECT_THAT(said(*run), HasSubstr("there is no directory " + (directory_ / "typo/in").string()));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "typo"));
}

TEST_F(PlanRuns, AMistakeIsReportedWithItsPlace) {
  const auto run = made(plan(", verfy: none"));
  EXPECT_EQ(run->prepare(), PlanStatus::kWrong);
  EXPECT_THAT(said(*run), HasSubstr("night.yaml:8:"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "state"));
}

TEST_F(PlanRuns, WhatIsInTheWayIsFoundBeforeAnythingIsTouched) {
  std::filesystem::create_directories(file("out/web"));
  std::ofstream(file("out/web/web-disk-0.raw")) << "mine";
  const auto run = made(plan());
  EXPECT_EQ(run->prepare(), PlanStatus::kCannotRun);
  EXPECT_THAT(said(*run), HasSubstr("target exists"));
  EXPECT_EQ(world_.count("open web"), 0u);
}

TEST_F(PlanRuns, ASecondRunOfThePlanIsRefused) {
  const auto first = made(plan()), second = made(plan());
  ASSERT_EQ(first->prepare(), PlanStatus::kReady) << said(*first);
  ASSERT_EQ(first->start(), PlanStatus::kReady);
  ASSERT_EQ(second->prepare(), PlanStatus::kReady);
  EXPECT_EQ(second->start(), PlanStatus::kCannotRun);
  EXPECT_THAT(said(*second), HasSubstr("a run of the plan"));
}

TEST_F(PlanRuns, OneThatIsCancelledEndsBeforeItBegins) {
  cancel_->cancel();
  EXPECT_EQ(made(plan())->prepare(), PlanStatus::kInterrupted);
}

}  // namespace
}  // namespace hyperhost::testing_memory
