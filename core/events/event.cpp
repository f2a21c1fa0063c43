// SPDX-License-Identifier: Apache-2.0
#include "core/events/event.hpp"

#include <algorithm>

namespace hyperhost {

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSucceeded:
      return "succeeded";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kCancelled:
      return "cancelled";
    case Outcome::kSkipped:
      return "skipped";
  }
  return "failed";
}

namespace {

bool tells(const TaskInfo& task, Watch as) {
  return (task.unwatched & static_cast<uint32_t>(as)) == 0;
}

/// The event as an observer may see it: a run's list leaves out the tasks hidden from it.
Event seen(const Event& event, Watch as) {
  Event out = event;
  if (auto* started = std::get_if<event::RunStarted>(&out.body))
    std::erase_if(started->tasks, [&](const auto& task) { return !tells(*task, as); });
  return out;
}

}  // namespace

void EventBus::subscribe(Observer* observer, Watch as) {
  std::lock_guard lock(mutex_);
  observers_.emplace_back(observer, as);
}

void EventBus::unsubscribe(Observer* observer) {
  std::lock_guard lock(mutex_);
  std::erase_if(observers_, [&](const auto& entry) { return entry.first == observer; });
}

void EventBus::publish(std::shared_ptr<const TaskInfo> task, EventBody body) {
  const Event event{WallClock::now(), std::move(task), std::move(body)};
  std::vector<std::pair<Observer*, Watch>> observers;
  {
    std::lock_guard lock(mutex_);
    observers = observers_;
  }
  const auto* started = std::get_if<event::RunStarted>(&event.body);
  for (const auto& [observer, as] : observers) {
    const bool all = started == nullptr ||
                     std::all_of(started->tasks.begin(), started->tasks.end(),
                                 [&, watch = as](const auto& one) { return tells(*one, watch); });
    if (!all)
      observer->on_event(seen(event, as));
    else if (event.task == nullptr || tells(*event.task, as))
      observer->on_event(event);
  }
}

}  // namespace hyperhost
