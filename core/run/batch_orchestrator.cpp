// SPDX-License-Identifier: Apache-2.0
#include "core/run/batch_orchestrator.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>
#include <utility>

#include "core/base/timestamp.hpp"
#include "core/os/process_identity.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {
namespace {

std::string host_name() {
  return this_process().substr(0, this_process().find(' '));
}

constexpr std::chrono::milliseconds kLook{200};  // at cancel, drain and the clock

}  // namespace

bool worth_retrying(const Diagnostic& failure) {
  switch (failure.code) {
    case Code::kConfig:
    case Code::kAuth:  // trying again may lock the account
    case Code::kUnsupported:
    case Code::kExists:
    case Code::kCancelled:
      return false;
    case Code::kBusy:
      return true;
    default:
      return failure.retryable;
  }
}

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

std::string BatchOrchestrator::open_dependency(std::size_t index, std::string& failed) const {
  std::string open;
  for (const std::string& id : (*configs_)[index].depends_on) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) continue;  // a pattern's that matched nothing was refused before
    for (const std::size_t other : found->second) {
      const bool done = entries_[other].state == State::kDone;
      if (!done && open.empty()) open = id;
      if (done && !entries_[other].result.success) failed = id;
    }
  }
  return open;
}

std::string BatchOrchestrator::limit_reached(std::size_t index) const {
  const auto full = [&](const std::string& name, uint32_t limit) {
    const auto found = busy_.find(name);
    return limit != 0 && found != busy_.end() && found->second >= limit;
  };
  const auto text = [](const char* key, uint32_t limit, const std::string& name) {
    return std::string(key) + ": " + std::to_string(limit) + " at once from " + name;
  };
  const std::string provider = "provider " + (*configs_)[index].provider;
  if (full(provider, options_.per_provider))
    return text("per_provider", options_.per_provider, provider);
  const auto& placement = entries_[index].placement;
  if (!placement) return {};
  const std::string host = "host " + placement->host;
  if (!placement->host.empty() && full(host, options_.per_host))
    return text("per_host", options_.per_host, host);
  for (const std::string& one : placement->datastores)
    if (full("datastore " + one, options_.per_datastore))
      return text("per_datastore", options_.per_datastore, "datastore " + one);
  return {};
}

void BatchOrchestrator::occupy(std::size_t index) {
  std::vector<std::string>& held = entries_[index].held;
  held = {"provider " + (*configs_)[index].provider};
  if (const auto& placement = entries_[index].placement) {
    if (!placement->host.empty()) held.push_back("host " + placement->host);
    for (const std::string& one : placement->datastores) held.push_back("datastore " + one);
  }
  for (const std::string& name : held) ++busy_[name];
}

void BatchOrchestrator::release(std::size_t index) {
  for (const std::string& name : entries_[index].held) --busy_[name];
  entries_[index].held.clear();
}

std::optional<BatchOrchestrator::Refusal> BatchOrchestrator::refusal(std::size_t index) {
  const MigrationConfig& config = (*configs_)[index];
  const bool again = entries_[index].begun.has_value();
  if (cancel_->cancelled())
    return Refusal{again ? "cancelled" : "not begun: the run was cancelled", Outcome::kCancelled};
  if (orchestrator_.draining()->cancelled())
    return Refusal{
        again ? "not tried again: the run is being drained" : "not begun: the run is being drained",
        Outcome::kCancelled};
  if (orchestrator_.task_cancelled(tasks_[index]->task_id))
    return Refusal{again ? "cancelled" : "not begun: it was cancelled", Outcome::kCancelled};
  if (again) return std::nullopt;
  if (stop_) return Refusal{"not begun: an earlier VM failed", Outcome::kSkipped};
  std::string failed;
  open_dependency(index, failed);
  if (!failed.empty())
    return Refusal{"not begun: '" + failed + "', which it depends on, did not succeed",
                   Outcome::kSkipped};
  if (config.window.over(clock_.wall()))
    return Refusal{"not begun: its start window is over", Outcome::kSkipped};
  return std::nullopt;
}

std::optional<event::TaskWaiting> BatchOrchestrator::waits_for(std::size_t index) const {
  const Entry& entry = entries_[index];
  if (entry.ready > clock_.steady()) {
    const auto at = std::chrono::round<std::chrono::seconds>(
        clock_.wall() +
        std::chrono::duration_cast<WallClock::duration>(entry.ready - clock_.steady()));
    return event::TaskWaiting{
        "retry", "attempt " + std::to_string(entry.attempts + 1) + " at " + format_timestamp(at, 0),
        at};
  }
  std::string failed;
  if (const std::string open = open_dependency(index, failed); !open.empty())
    return event::TaskWaiting{"dependency", "for '" + open + "', which it depends on", {}};
  if (!entry.begun && !(*configs_)[index].window.open(clock_.wall())) {
    const auto opens = (*configs_)[index].window.opens(clock_.wall());
    return event::TaskWaiting{
        "window",
        "its start window opens" + (opens ? " at " + format_timestamp(*opens, 0) : " later"),
        opens};
  }
  if (const std::string limit = limit_reached(index); !limit.empty())
    return event::TaskWaiting{"limit", limit, {}};
  return std::nullopt;
}

std::optional<std::size_t> BatchOrchestrator::pick(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    bool waiting = false;
    for (const std::size_t index : order_) {
      Entry& entry = entries_[index];
      waiting = waiting || entry.state != State::kDone;
      if (entry.state != State::kWaiting || refusal(index) || waits_for(index)) continue;
      entry.waits.reset();
      if ((options_.per_host != 0 || options_.per_datastore != 0) && !entry.placement) {
        entry.state = State::kLooking;
        return index;
      }
      entry.state = State::kRunning;
      occupy(index);
      return index;
    }
    if (!waiting) return std::nullopt;
    changed_.wait_for(lock, kLook);
  }
}

void BatchOrchestrator::report_waits() {
  const auto busy = std::count_if(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return entry.state == State::kRunning || entry.state == State::kLooking;
  });
  for (const std::size_t index : order_) {
    Entry& entry = entries_[index];
    if (entry.state != State::kWaiting) continue;
    auto waits = waits_for(index);
    if (!waits && std::cmp_less(busy, workers_)) continue;  // a worker is about to take it
    if (!waits)
      waits = event::TaskWaiting{
          "limit", "max_parallel: " + std::to_string(workers_) + " at once of this run", {}};
    // The time of a retry is computed each time, from two clocks.
    if (entry.waits &&
        (*entry.waits == *waits || (waits->reason == "retry" && entry.waits->reason == "retry")))
      continue;
    entry.waits = waits;
    // Under the lock: a task that begins after this must not be reported as waiting afterwards.
    orchestrator_.events().publish(tasks_[index], *waits);
  }
}

void BatchOrchestrator::refuse(std::size_t index, const Refusal& refusal,
                               const OnResult& on_result) {
  Entry& entry = entries_[index];  // this thread's: it is kRunning
  MigrationResult& result = entry.result;
  if (!entry.begun) result.start_time = result.end_time = clock_.wall();
  result.task_id = tasks_[index]->task_id;
  result.vm_name = (*configs_)[index].vm_name;
  result.provider = tasks_[index]->provider;
  result.success = false;
  result.outcome = refusal.outcome;
  result.diagnostic = Error(Code::kCancelled, refusal.why).diagnostic();
  result.error = result.diagnostic.summary;
  finish(index, on_result);
}

void BatchOrchestrator::keep_waiting(const OnResult& on_result) {
  std::unique_lock lock(mutex_);
  for (;;) {
    bool waiting = false, refused = false;
    for (const std::size_t index : order_) {
      Entry& entry = entries_[index];
      waiting = waiting || entry.state != State::kDone;
      if (entry.state != State::kWaiting) continue;
      const auto why = refusal(index);
      if (!why) continue;
      refused = true;
      entry.state = State::kRunning;
      lock.unlock();
      refuse(index, *why, on_result);
      lock.lock();
      entry.state = State::kDone;
      changed_.notify_all();
    }
    if (!waiting) return;
    if (refused) continue;  // what depends on them is refused, too
    report_waits();
    changed_.wait_for(lock, kLook);
  }
}

void BatchOrchestrator::look(std::size_t index) {
  const VmRoute route = orchestrator_.preflight((*configs_)[index], cancel_);
  Placement placement{route.vm.host, {}};
  for (const DiskDescription& disk : route.vm.disks)
    if (!disk.datastore.empty()) placement.datastores.insert(disk.datastore);
  std::vector<Diagnostic> findings;
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[index];
    if (!entry.begun && !route.disks.empty())
      orchestrator_.events().publish(tasks_[index], size_of(route));
    if (!entry.placement) entry.placement = std::move(placement);
    // One that has begun meanwhile finds its own files, and tells of the rest by itself.
    if (entry.state == State::kWaiting && !entry.looked_at && !entry.begun)
      findings = route.findings;
    entry.looked_at = true;
  }
  for (Diagnostic& finding : findings) {
    if (finding.severity != Severity::kError) continue;
    finding.severity = Severity::kWarning;
    finding.summary = "it will fail: " + finding.summary;
    orchestrator_.events().publish(tasks_[index], event::Notice{finding, "preflight"});
  }
}

// What was not checked before the first byte is checked while the first VMs run: an error that
// would come in the small hours is reported at once.
void BatchOrchestrator::look_ahead(const std::stop_token& stop) {
  for (const std::size_t index : order_) {
    if (stop.stop_requested() || cancel_->cancelled()) return;
    {
      const std::lock_guard lock(mutex_);
      const Entry& entry = entries_[index];
      if (entry.looked_at || entry.state != State::kWaiting || entry.begun) continue;
    }
    look(index);
  }
}

void BatchOrchestrator::attempt(std::size_t index) {
  Entry& entry = entries_[index];  // this thread's while it is kRunning
  if (!entry.begun) {
    entry.begun = clock_.steady();
    entry.started = clock_.wall();
  }
  const auto own = orchestrator_.begin_task(tasks_[index]->task_id, cancel_);
  entry.result = orchestrator_.attempt((*configs_)[index], tasks_[index], own);
  orchestrator_.end_task(tasks_[index]->task_id);
  entry.result.attempts = ++entry.attempts;
}

void BatchOrchestrator::finish(std::size_t index, const OnResult& on_result) {
  Entry& entry = entries_[index];
  MigrationResult& result = entry.result;
  if (entry.begun) {
    result.start_time = entry.started;
    result.total_duration = clock_.steady() - *entry.begun;
  }
  result.attempts = entry.attempts;
  orchestrator_.finish(result, tasks_[index]);
  if (on_result) on_result(result);
}

void BatchOrchestrator::work(const OnResult& on_result) {
  std::unique_lock lock(mutex_);
  while (const auto picked = pick(lock)) {
    const std::size_t index = *picked;
    Entry& entry = entries_[index];
    if (entry.state == State::kLooking) {
      lock.unlock();
      look(index);
      lock.lock();
      entry.state = State::kWaiting;
      continue;
    }
    lock.unlock();
    attempt(index);
    const MigrationResult& result = entry.result;
    const bool again = !result.success && entry.attempts <= options_.max_retries &&
                       worth_retrying(result.diagnostic) && !cancel_->cancelled();
    std::chrono::nanoseconds wait{0};
    if (again) {
      wait = delay(entry.attempts, result.diagnostic);
      orchestrator_.events().publish(
          tasks_[index], event::Retry{"migration", "", entry.attempts, wait, result.diagnostic});
    } else {
      finish(index, on_result);
    }
    lock.lock();
    release(index);
    entry.ready = clock_.steady() + wait;
    entry.state = again ? State::kWaiting : State::kDone;
    if (!again && result.outcome == Outcome::kFailed && !options_.continue_on_error) {
      stop_ = true;
      if (options_.cancel_on_error) cancel_->cancel();
    }
    changed_.notify_all();
  }
}

event::RunFinished BatchOrchestrator::totals() const {
  event::RunFinished finished{orchestrator_.run_id_};
  for (const Entry& entry : entries_) {
    switch (entry.result.outcome) {
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
  finished.plan_name = orchestrator_.config_.plan_name;
  finished.user = orchestrator_.config_.user;
  return finished;
}

std::vector<MigrationResult> BatchOrchestrator::run(const std::vector<MigrationConfig>& configs,
                                                    const std::shared_ptr<CancelSource>& cancel,
                                                    const OnResult& on_result) {
  configs_ = &configs;
  cancel_ = cancel->child();  // on_error: cancel ends this run and nothing else
  const auto begin = clock_.steady();
  for (std::size_t i = 0; i < configs.size(); ++i) {
    tasks_.push_back(orchestrator_.task_info(configs[i]));
    if (!configs[i].plan_id.empty()) by_id_[configs[i].plan_id].push_back(i);
  }
  EventBus& events = orchestrator_.events();
  events.publish(nullptr, event::RunStarted{orchestrator_.run_id_, orchestrator_.config_.plan_name,
                                            orchestrator_.config_.user, tasks_, host_name()});
  for (std::size_t i = 0; i < std::min(options_.sizes.size(), configs.size()); ++i)
    events.publish(tasks_[i], options_.sizes[i]);
  order_.resize(configs.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
    return configs[a].priority > configs[b].priority;
  });
  entries_.resize(configs.size());
  for (std::size_t i = 0; i < std::min(options_.checked, configs.size()); ++i)
    entries_[i].looked_at = true;
  workers_ =
      std::clamp<std::size_t>(options_.max_parallel, 1, std::max<std::size_t>(configs.size(), 1));
  {
    std::jthread ahead;
    if (options_.checked < configs.size())
      ahead = std::jthread([this](const std::stop_token& stop) { look_ahead(stop); });
    const std::jthread keeper([&] { keep_waiting(on_result); });
    std::vector<std::jthread> pool;
    for (std::size_t i = 1; i < workers_; ++i) pool.emplace_back([&] { work(on_result); });
    work(on_result);
  }
  event::RunFinished finished = totals();
  finished.duration = clock_.steady() - begin;
  std::vector<MigrationResult> results;
  for (Entry& entry : entries_) results.push_back(std::move(entry.result));
  events.publish(nullptr, finished);
  return results;
}

}  // namespace hyperhost
