// SPDX-License-Identifier: Apache-2.0
// What a run shows on standard error meanwhile, by --progress: a live view, dated lines or
// JSON events. Takes the log over for as long as it lives. Made and destroyed by the owner's
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/events/event.hpp"
#include "core/run/orchestrator.hpp"

namespace hyperhost {

class Context;
class Console;
class RunView;

class RunScreen {
 public:
  /// The orchestrator must have a progress tracker.
  RunScreen(Context& context, MigrationOrchestrator& orchestrator, const std::string& title);
  /// Everything said so far is out (or given up after two seconds), the live view gone.
  ~RunScreen();
  RunScreen(const RunScreen&) = delete;
  RunScreen& operator=(const RunScreen&) = delete;

 private:
  Context& context_;
  MigrationOrchestrator& orchestrator_;
  std::unique_ptr<RunView> view_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<Observer> teller_;
};

}  // namespace hyperhost
