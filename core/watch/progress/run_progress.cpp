// SPDX-License-Identifier: Apache-2.0
#include "core/watch/progress/run_progress.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>

#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kAlmostAll = 99.9;  // 100 is for a run whose VMs have all ended well
constexpr double kBetweenSamples = 0.5;
constexpr std::size_t kSamplesKept = 4096;
constexpr double kFirstEstimate = 2;           // seconds of work that say something
constexpr double kUnsure = 5;                  // and those that say little
constexpr double kLongest = 30.0 * 24 * 3600;  // beyond this an estimate is noise

double rest_of(const TaskProgress& task) {
  return static_cast<double>(task.move_bytes) * (1 - task.percentage / 100);
}

/// Bytes that `running` VMs together move a second.
struct Speed {
  double rate = 0, at = 1;  ///< so many bytes with so many VMs running
  double gain = 0;          ///< 0: they share one line; 1: each has its own
  double of(std::size_t running) const {
    return rate * std::pow(static_cast<double>(running) / at, gain);
  }
};

/// Seconds until the last VM ends, if VMs start in the plan's order as places become free and share
/// the speed equally.
double last_end(const std::vector<TaskProgress>& tasks, const Speed& speed, double unmeasured,
                std::size_t places, WallClock::time_point wall) {
  std::vector<double> running;          // bytes that are left
  std::deque<double> ready;             // the same
  std::multimap<double, double> later;  // by when they may begin
  for (const TaskProgress& task : tasks) {
    const double rest = task.measured ? rest_of(task) : unmeasured;
    double from = 0;
    if (task.waiting && task.waiting->until) from = Seconds(*task.waiting->until - wall).count();
    if (task.status == TaskStatus::kRunning)
      running.push_back(rest);
    else if (task.status == TaskStatus::kPending && from <= 0)
      ready.push_back(rest);
    else if (task.status == TaskStatus::kPending)
      later.emplace(from, rest);
  }
  places = std::max({places, running.size(), std::size_t{1}});
  double now = 0;
  while (!running.empty() || !ready.empty() || !later.empty()) {
    while (!later.empty() && later.begin()->first <= now + 1e-6) {
      ready.push_back(later.begin()->second);
      later.erase(later.begin());
    }
    for (; running.size() < places && !ready.empty(); ready.pop_front())
      running.push_back(ready.front());
    if (running.empty()) {  // all that is left waits for its time
      now = later.begin()->first;
      continue;
    }
    const double each = speed.of(running.size()) / static_cast<double>(running.size());
    double step = *std::min_element(running.begin(), running.end()) / each;
    if (!later.empty()) step = std::min(step, later.begin()->first - now);
    now += step;
    for (double& rest : running) rest -= step * each;
    std::erase_if(running, [](double rest) { return rest < 1; });
  }
  return now;
}

}  // namespace

void RunProgress::begin(const event::RunStarted& run, WallClock::time_point time, Instant now) {
  *this = RunProgress();
  about_.run_id = run.run_id;
  about_.plan = run.plan_name;
  about_.user = run.user;
  about_.host = run.host;
  about_.start_time = time;
  began_ = passed_ = now;
}

void RunProgress::end(WallClock::time_point time, Instant now) {
  about_.end_time = time;
  ended_ = now;
}

void RunProgress::pass(Instant now, std::size_t running) {
  const double seconds = passed_ ? std::max(0.0, Seconds(now - *passed_).count()) : 0;
  passed_ = now;
  // Until the first byte comes, sources are opened: that time says nothing about the speed.
  if (running == 0 || now_.bytes <= 0) return;
  now_.seconds += seconds;
  now_.vm_seconds += seconds * static_cast<double>(running);
  const double step = now_.seconds - sampled_.seconds;
  if (!samples_.empty() && step < kBetweenSamples) return;
  // A report of bytes comes after they were moved, and often at the moment at which another VM
  // ends. So they count for the number of VMs that ran in that half second, not at that moment.
  if (step > 0) {
    const double ran = (now_.vm_seconds - sampled_.vm_seconds) / step;
    Sample& share = by_running_[static_cast<std::size_t>(std::lround(ran))];
    share.seconds += step;
    share.bytes += now_.bytes - sampled_.bytes;
  }
  sampled_ = now_;
  samples_.push_back(now_);
  if (samples_.size() <= kSamplesKept) return;
  // A long run needs no sample of every half second: each second one goes.
  std::deque<Sample> kept;
  for (std::size_t i = 0; i < samples_.size(); i += 2) kept.push_back(samples_[i]);
  samples_.swap(kept);
}

void RunProgress::moved(double bytes) {
  now_.bytes += std::max(0.0, bytes);
}

/// How much more VMs move together when more of them run, by what was seen so far: the exponent of
/// rate ~ VMs^gain, fitted by the time that was spent with each number.
double RunProgress::gain() const {
  constexpr double kEnough = 4;               // seconds
  constexpr double kPrior = 0.5, kTrust = 2;  // before anything was seen
  double weight = 0, x = 0, y = 0;
  const auto each = [&](const auto& f) {
    for (const auto& [running, share] : by_running_)
      if (running > 0 && share.seconds >= kEnough && share.bytes > 0)
        f(std::log(static_cast<double>(running)), std::log(share.bytes / share.seconds),
          share.seconds);
  };
  each([&](double vms, double rate, double seconds) {
    weight += seconds;
    x += vms * seconds;
    y += rate * seconds;
  });
  if (weight <= 0) return kPrior;
  double xx = 0, xy = 0;
  each([&](double vms, double rate, double seconds) {
    xx += seconds * (vms - x / weight) * (vms - x / weight);
    xy += seconds * (vms - x / weight) * (rate - y / weight);
  });
  return std::clamp((xy + kPrior * kTrust) / (xx + kTrust), 0.0, 1.0);
}

RunProgress::Sample RunProgress::window(double seconds) const {
  Sample from;
  const auto at = std::partition_point(samples_.begin(), samples_.end(), [&](const Sample& sample) {
    return sample.seconds < now_.seconds - seconds;
  });
  if (at != samples_.begin()) from = *std::prev(at);
  return {now_.seconds - from.seconds, now_.vm_seconds - from.vm_seconds, now_.bytes - from.bytes};
}

std::optional<TimeLeft> RunProgress::left(const std::vector<TaskProgress>& tasks,
                                          WallClock::time_point wall) const {
  double known = 0, sizes = 0, measured = 0;
  std::size_t unknown = 0;
  for (const TaskProgress& task : tasks) {
    if (task.measured) sizes += static_cast<double>(task.move_bytes), ++measured;
    if (is_final(task.status)) continue;
    if (task.measured)
      known += rest_of(task);
    else
      ++unknown;
  }
  if (now_.seconds < kFirstEstimate || now_.bytes <= 0) return std::nullopt;
  const Sample smooth = window(std::max(30.0, now_.seconds / 2));
  const Sample recent = window(std::max(10.0, now_.seconds / 8));
  if (smooth.bytes <= 0 || smooth.vm_seconds <= 0) return std::nullopt;  // it stands still
  const double rate = smooth.bytes / smooth.seconds;
  const double at_once = smooth.vm_seconds / smooth.seconds;
  const auto places = static_cast<std::size_t>(std::lround(at_once));
  const Speed speed{rate, at_once, gain()};
  const double typical = measured > 0 ? sizes / measured : 0;
  // How much slower or faster the last minutes were than the long mean.
  const double pace =
      recent.bytes > 0 ? std::clamp(recent.bytes / recent.seconds / rate, 0.5, 2.0) : 0.5;
  const bool unsure = now_.seconds < kUnsure;
  TimeLeft out;
  out.likely = last_end(tasks, speed, typical, places, wall);
  out.low = out.likely / std::max(1.0, pace) * (unsure ? 0.67 : 1.0);
  out.high = out.likely / std::min(1.0, pace) * (unsure ? 1.5 : 1.0);
  if (unknown > 0) {
    out.low = std::min(out.low, known / rate);
    out.high = std::max(out.high, last_end(tasks, speed, 2 * typical, places, wall));
  }
  return out.likely <= kLongest ? std::optional(out) : std::nullopt;
}

RunFrame RunProgress::frame(const std::vector<TaskProgress>& tasks, WallClock::time_point wall,
                            Instant now) const {
  RunFrame out = about_;
  if (began_) out.elapsed_seconds = Seconds(ended_.value_or(now) - *began_).count();
  double moved = 0, share = 0;
  for (const TaskProgress& task : tasks) {
    ++out.total;
    out.guest_bytes += task.guest_bytes;
    out.move_bytes += task.move_bytes;
    moved += static_cast<double>(task.move_bytes) * task.percentage / 100;
    share += task.percentage;
    // What never began and never will has no size that matters.
    if (!task.measured && !is_final(task.status)) ++out.unmeasured;
    if (!is_final(task.status)) out.rate += task.rate;
    switch (task.status) {
      case TaskStatus::kPending:
        ++out.waiting;
        break;
      case TaskStatus::kRunning:
        ++out.running;
        break;
      case TaskStatus::kCompleted:
        ++out.completed;
        break;
      case TaskStatus::kFailed:
        ++out.failed;
        break;
      case TaskStatus::kCancelled:
        ++out.cancelled;
        break;
      case TaskStatus::kSkipped:
        ++out.skipped;
        break;
    }
  }
  out.moved_bytes = static_cast<uint64_t>(moved);
  if (out.unmeasured == 0 && out.total > 0) {
    const double part = out.move_bytes > 0 ? 100 * moved / static_cast<double>(out.move_bytes)
                                           : share / static_cast<double>(out.total);
    out.percentage = out.completed == out.total ? 100 : std::min(part, kAlmostAll);
  }
  if (out.waiting + out.running > 0) out.left = left(tasks, wall);
  return out;
}

}  // namespace hyperhost
