// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/batch_orchestrator.hpp"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

namespace hyperhost {

std::chrono::nanoseconds BatchOrchestrator::delay(uint32_t attempt,
                                                  const Diagnostic& failure) const {
  auto wait = options_.retry_delay;
  const auto most = std::max(options_.max_retry_delay, options_.retry_delay);
  for (uint32_t i = 1; i < attempt && wait < most; ++i) wait *= 2;
  wait = std::min(wait, most);
  // Up to a quarter more, so that what failed together does not come back together.
  thread_local std::minstd_rand random{std::random_device{}()};
  wait += std::chrono::nanoseconds(static_cast<int64_t>(
      static_cast<double>(wait.count()) * std::uniform_real_distribution<>(0, 0.25)(random)));
  return std::max(wait, failure.retry_after);
}

MigrationResult BatchOrchestrator::run_one(const MigrationConfig& config,
                                           const std::shared_ptr<const TaskInfo>& task,
                                           const std::shared_ptr<CancelSource>& cancel) {
  const auto begin = std::chrono::steady_clock::now();
  const auto started = WallClock::now();
  MigrationResult result;
  for (uint32_t attempt = 1;; ++attempt) {
    result = orchestrator_.attempt(config, task, cancel);
    result.attempts = attempt;
    const bool again = !result.success && result.diagnostic.retryable &&
                       attempt <= options_.max_retries && result.outcome != Outcome::kCancelled;
    if (!again) break;
    const auto wait = delay(attempt, result.diagnostic);
    orchestrator_.events().publish(task,
                                   event::Retry{"migration", "", attempt, wait, result.diagnostic});
    if (!cancel->wait_for(wait)) break;
  }
  result.start_time = started;
  result.total_duration = std::chrono::steady_clock::now() - begin;
  orchestrator_.finish(result, task);
  return result;
}

std::vector<MigrationResult> BatchOrchestrator::run(
    const std::vector<MigrationConfig>& configs, const std::shared_ptr<CancelSource>& cancel,
    const std::function<void(const MigrationResult&)>& on_result) {
  std::vector<std::shared_ptr<const TaskInfo>> tasks;
  for (const MigrationConfig& config : configs) tasks.push_back(orchestrator_.task_info(config));
  orchestrator_.events().publish(
      nullptr, event::RunStarted{orchestrator_.run_id_, orchestrator_.config_.plan_name,
                                 orchestrator_.config_.user, tasks});

  std::vector<std::size_t> order(configs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return configs[a].priority > configs[b].priority;
  });

  std::vector<MigrationResult> results(configs.size());
  std::mutex mutex;
  std::size_t next = 0;
  bool stop = false;
  const auto work = [&] {
    for (;;) {
      std::size_t i = 0;
      bool begin = true;
      {
        const std::lock_guard lock(mutex);
        if (next == order.size()) return;
        i = order[next++];
        begin = !stop && !cancel->cancelled();
      }
      if (begin) {
        results[i] = run_one(configs[i], tasks[i], cancel);
      } else {
        MigrationResult& result = results[i];
        result.task_id = tasks[i]->task_id;
        result.vm_name = configs[i].vm_name;
        result.provider = tasks[i]->provider;
        result.outcome = cancel->cancelled() ? Outcome::kCancelled : Outcome::kSkipped;
        result.diagnostic =
            Error(Code::kCancelled, cancel->cancelled() ? "not begun: the run was cancelled"
                                                        : "not begun: an earlier VM failed")
                .diagnostic();
        result.error = result.diagnostic.summary;
        result.start_time = result.end_time = WallClock::now();
        result.attempts = 0;
        orchestrator_.finish(result, tasks[i]);
      }
      if (on_result) on_result(results[i]);
      const std::lock_guard lock(mutex);
      if (!results[i].success && !options_.continue_on_error) stop = true;
    }
  };
  {
    std::vector<std::jthread> pool;
    const std::size_t workers =
        std::clamp<std::size_t>(options_.max_parallel, 1, std::max<std::size_t>(configs.size(), 1));
    for (std::size_t i = 1; i < workers; ++i) pool.emplace_back(work);
    work();
  }
  event::RunFinished finished{orchestrator_.run_id_};
  for (const MigrationResult& result : results) {
    switch (result.outcome) {
      case Outcome::kSucceeded:
        ++finished.succeeded;
        break;
      case Outcome::kFailed:
        ++finished.failed;
        break;
      case Outcome::kCancelled:
        ++finished.cancelled;
        break;
      case Outcome::kSkipped:
        ++finished.skipped;
        break;
    }
  }
  orchestrator_.events().publish(nullptr, finished);
  return results;
}

}  // namespace hyperhost
