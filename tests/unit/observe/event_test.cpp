// SPDX-License-Identifier: Apache-2.0
#include "core/events/event.hpp"

#include <gtest/gtest.h>

namespace hyperhost {
namespace {

class Listener final : public Observer {
 public:
  void on_event(const Event& event) noexcept override {
    if (const auto* started = std::get_if<event::RunStarted>(&event.body)) {
      for (const auto& task : started->tasks) heard.push_back("listed " + task->task_id);
    } else {
      heard.push_back(event.task ? event.task->task_id : "run");
    }
  }
  std::vector<std::string> heard;
};

TEST(EventBus, ATaskIsKeptFromTheObserversItNamesAndFromNoOthers) {
  const auto open = std::make_shared<TaskInfo>(), quiet = std::make_shared<TaskInfo>();
  open->task_id = "open";
  quiet->task_id = "quiet";
  quiet->unwatched = static_cast<uint32_t>(Watch::kAudit) | static_cast<uint32_t>(Watch::kWebhooks);
  EventBus bus;
  Listener audit, metrics, other;
  bus.subscribe(&audit, Watch::kAudit);
  bus.subscribe(&metrics, Watch::kMetrics);
  bus.subscribe(&other);
  bus.publish(nullptr, event::RunStarted{"run", "plan", "user", {open, quiet}});
  bus.publish(open, event::TaskStarted{});
  bus.publish(quiet, event::TaskStarted{});
  bus.publish(nullptr, event::RunFinished{});
  const std::vector<std::string> all = {"listed open", "listed quiet", "open", "quiet", "run"};
  EXPECT_EQ(audit.heard, (std::vector<std::string>{"listed open", "open", "run"}));
  EXPECT_EQ(metrics.heard, all);
  EXPECT_EQ(other.heard, all);
}

}  // namespace
}  // namespace hyperhost
