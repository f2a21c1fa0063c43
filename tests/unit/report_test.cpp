// SPDX-License-Identifier: Apache-2.0
// The end of a run as people read it: 80 columns, what went wrong first, one line of totals last.
#include "hosts/hyperhost/report.hpp"

#include <gmock/gmock.h>

#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

using testing::HasSubstr;
using testing::Not;

MigrationResult of(const std::string& vm, Outcome outcome) {
  MigrationResult out;
  out.vm_name = vm;
  out.outcome = outcome;
  out.success = outcome == Outcome::kSucceeded;
  return out;
}

MigrationResult good(const std::string& vm) {
  MigrationResult out = of(vm, Outcome::kSucceeded);
  out.total_size = 1300ull << 20;
  out.export_size = 45ull << 20;
  out.conversion_size = 118ull << 20;
  out.conversion_duration = std::chrono::seconds(2);
  out.total_duration = std::chrono::seconds(3);
  out.manifest_path = "/srv/vms/" + vm + "/manifest.json";
  DiskResult disk;
  disk.id = "disk-0";
  disk.digest = "hyper-tree-sha256:" + std::string(64, 'a');
  out.disks = {disk};
  return out;
}

MigrationResult bad(const std::string& vm, Outcome outcome, const std::string& why,
                    const std::string& hint) {
  MigrationResult out = of(vm, outcome);
  out.diagnostic =
      Error(outcome == Outcome::kFailed ? Code::kNoSpace : Code::kCancelled, why, "", hint)
          .diagnostic();
  out.error = why;
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

TEST(Report, FailuresComeFirstAndTheTotalsLast) {
  MigrationResult failed =
      bad("db-01", Outcome::kFailed,
          "no space left under /srv/vms while the disk disk-0 of db-01 was written",
          "free 12 GiB, or choose another output_dir");
  failed.attempts = 3;
  const std::string text =
      summary_text({good("web-01"), failed,
                    bad("app-01", Outcome::kSkipped,
                        "not begun: 'db', which it depends on, did not succeed", "")},
                   {}, false);
  const auto lines = lines_of(text);
  EXPECT_EQ(lines[0], "Not migrated:");
  EXPECT_EQ(lines[1], "  db-01: failed in attempt 3");
  EXPECT_THAT(text, HasSubstr("What to do: free 12 GiB, or choose another output_dir\n"));
  EXPECT_LT(text.find("app-01"), text.find("web-01"));
  EXPECT_EQ(lines.back().rfind("1 of 3 VMs migrated, 1 failed, 1 skipped", 0), 0u) << lines.back();
  for (const std::string& line : lines) EXPECT_LE(display_width(line), 80u) << line;
  EXPECT_THAT(text, Not(HasSubstr("hyper-tree-sha256")));
}

TEST(Report, TheRateIsWhatTheRowSaysItIs) {
  MigrationResult result = good("web-01");
  result.total_duration = std::chrono::seconds(13);
  EXPECT_THAT(summary_text({result}, {}, false), HasSubstr("13.0 s  100 MiB/s\n"));
}

TEST(Report, WhatNeverBeganSaysWhatToDo) {
  const std::string text = summary_text(
      {bad("a", Outcome::kCancelled, "not begun: the run was cancelled", ""),
       bad("b", Outcome::kSkipped, "not begun: 'db', which it depends on, did not succeed", "")},
      {}, false);
  EXPECT_THAT(text, HasSubstr("      a\n      What to do: run it again\n"));
  EXPECT_THAT(text, HasSubstr("      b\n      What to do: mend what failed, then run it again\n"));
}

TEST(Report, ALongOneHasDigestsAndManifests) {
  const std::string text = summary_text({good("web-01"), good("web-02")}, {}, true);
  EXPECT_THAT(
      text, HasSubstr("  web-01: /srv/vms/web-01/manifest.json\n    disk-0: hyper-tree-sha256:a"));
  EXPECT_THAT(summary_text({good("web-01"), good("web-02")}, {}, false),
              Not(HasSubstr("manifest.json")));
}

TEST(Report, AStoppedRunOfManyIsShort) {
  std::vector<MigrationResult> results = {good("vm-000")};
  for (int i = 1; i < 200; ++i)
    results.push_back(bad("vm-" + std::to_string(i), Outcome::kCancelled,
                          "not begun: the run was cancelled", ""));
  const std::string text = summary_text(results, {}, false);
  EXPECT_LT(lines_of(text).size(), 12u) << text;
  EXPECT_THAT(text, HasSubstr("199 VMs cancelled, not begun: the run was cancelled\n"));
  EXPECT_THAT(text, HasSubstr(" and 189 more\n"));
}

TEST(Report, WebhooksThatLostNewsAreSaidBeforeTheTotals) {
  WebhookStats hook;
  hook.name = "slack-0";
  hook.failed = 2;
  const auto lines = lines_of(summary_text({good("a")}, {hook}, false));
  EXPECT_EQ(lines.back().rfind("1 of 1 VM migrated", 0), 0u);
  EXPECT_THAT(lines, testing::Contains("webhook slack-0: 2 of 2 not delivered"));
}

}  // namespace
}  // namespace hyperhost
