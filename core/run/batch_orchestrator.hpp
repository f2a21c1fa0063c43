// SPDX-License-Identifier: Apache-2.0
// Runs the migrations of a plan: by priority and dependencies, a bounded number at once and from
// one place, within their start windows, going on or stopping after a failure, trying again what
// may succeed later. A VM that has to wait (for its window, a limit or its next attempt) holds no
// place: the next one that may goes. An object for one call of run().
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/run/orchestrator.hpp"

namespace hyperhost {

class BatchOrchestrator {
 public:
  BatchOrchestrator(MigrationOrchestrator& orchestrator, const BatchOptions& options)
      : orchestrator_(orchestrator),
        clock_(*orchestrator.session().services().clock),
        options_(options) {}

  /// Results in the order of configs: those never begun are cancelled (the run was, or is being
  /// drained) or skipped (an earlier one failed and continue_on_error is off, one they depend on
  /// did not succeed, their start window is over).
  std::vector<MigrationResult> run(const std::vector<MigrationConfig>& configs,
                                   const std::shared_ptr<CancelSource>& cancel,
                                   const std::function<void(const MigrationResult&)>& on_result);

 private:
  using Instant = std::chrono::steady_clock::time_point;
  enum class State { kWaiting, kLooking, kRunning, kDone };
  /// Where a VM comes from, as far as limits ask for it.
  struct Placement {
    std::string host;
    std::set<std::string> datastores;
  };
  struct Entry {
    State state = State::kWaiting;
    uint32_t attempts = 0;
    bool looked_at = false;  ///< by the look-ahead
    std::optional<Placement> placement;
    std::vector<std::string> held;  ///< of busy_, while it runs
    Instant ready{};                ///< not before: the next attempt
    std::optional<Instant> begun;
    WallClock::time_point started;
    std::optional<event::TaskWaiting> waits;  ///< as it was reported last
    MigrationResult result;
  };
  struct Refusal {
    std::string why;
    Outcome outcome = Outcome::kSkipped;
  };
  using OnResult = std::function<void(const MigrationResult&)>;

  void work(const OnResult& on_result);
  /// The next VM that may begin (kRunning then, or kLooking where its place is not known yet).
  /// Waits; nothing once none is left to wait for.
  std::optional<std::size_t> pick(std::unique_lock<std::mutex>& lock);
  /// On a thread of its own until no VM waits: ends what will never begin as soon as that is
  /// certain, whether or not a place is free, and reports why the others wait.
  void keep_waiting(const OnResult& on_result);
  void refuse(std::size_t index, const Refusal& refusal, const OnResult& on_result);
  void report_waits();
  /// What keeps a VM from ever beginning; empty if nothing does.
  std::optional<Refusal> refusal(std::size_t index);
  /// What a VM waits for now; nothing where only a free place is missing.
  std::optional<event::TaskWaiting> waits_for(std::size_t index) const;
  /// The first one that has not ended; empty where all have. failed: one that did not succeed.
  std::string open_dependency(std::size_t index, std::string& failed) const;
  /// The limit that is reached, for people; empty where none is.
  std::string limit_reached(std::size_t index) const;
  void occupy(std::size_t index);
  void release(std::size_t index);
  void attempt(std::size_t index);
  void look(std::size_t index);
  void look_ahead(const std::stop_token& stop);
  void finish(std::size_t index, const OnResult& on_result);
  event::RunFinished totals() const;
  std::chrono::nanoseconds delay(uint32_t attempt, const Diagnostic& failure) const;

  MigrationOrchestrator& orchestrator_;
  const HostClock& clock_;
  const BatchOptions options_;
  const std::vector<MigrationConfig>* configs_ = nullptr;
  std::shared_ptr<CancelSource> cancel_;
  std::vector<std::shared_ptr<const TaskInfo>> tasks_;
  std::vector<std::size_t> order_;
  std::map<std::string, std::vector<std::size_t>> by_id_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> entries_;
  std::map<std::string, uint32_t> busy_;  ///< "provider x", "host x", "datastore x" → VMs
  bool stop_ = false;
  std::size_t workers_ = 1;
};

/// Whether trying again may help, by what the failure says of itself.
bool worth_retrying(const Diagnostic& failure);

}  // namespace hyperhost
