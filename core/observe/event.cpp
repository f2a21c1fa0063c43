// SPDX-License-Identifier: Apache-2.0
#include "core/observe/event.hpp"

#include <algorithm>

namespace hyperhost {

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::kExport:
      return "export";
    case Stage::kConvert:
      return "convert";
    case Stage::kUpload:
      return "upload";
    case Stage::kVerify:
      return "verify";
  }
  return "export";
}

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

void EventBus::subscribe(Observer* observer) {
  std::lock_guard lock(mutex_);
  observers_.push_back(observer);
}

void EventBus::unsubscribe(Observer* observer) {
  std::lock_guard lock(mutex_);
  std::erase(observers_, observer);
}

void EventBus::publish(std::shared_ptr<const TaskInfo> task, EventBody body) {
  const Event event{WallClock::now(), std::move(task), std::move(body)};
  std::vector<Observer*> observers;
  {
    std::lock_guard lock(mutex_);
    observers = observers_;
  }
  for (Observer* observer : observers) observer->on_event(event);
}

}  // namespace hyperhost
