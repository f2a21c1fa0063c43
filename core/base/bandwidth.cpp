// SPDX-License-Identifier: Apache-2.0
#include "core/base/bandwidth.hpp"

#include <algorithm>

namespace hyperhost {
namespace {

constexpr double kBurst = 0.1;  // seconds' worth that may gather while nothing is sent
constexpr std::chrono::milliseconds kLongestWait{100};  // then the rate may be another
constexpr std::chrono::seconds kRecent{1};

}  // namespace

void RateLimit::set(uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rate_ = bytes_per_second;
}

uint64_t RateLimit::rate() const {
  const std::lock_guard lock(mutex_);
  return rate_;
}

std::chrono::nanoseconds RateLimit::try_take(uint64_t bytes, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto rate = static_cast<double>(rate_);
  const double passed =
      filled_ == Clock::time_point{} ? 0 : std::chrono::duration<double>(now - filled_).count();
  filled_ = now;
  if (rate_ == 0) {
    tokens_ = 0;
    return {};
  }
  tokens_ = std::min(tokens_ + passed * rate, kBurst * rate);
  if (tokens_ < 0) {
    const double seconds = -tokens_ / rate;
    const auto wait = std::min<std::chrono::nanoseconds>(
        kLongestWait, std::chrono::nanoseconds(static_cast<int64_t>(std::min(seconds, 1.0) * 1e9)) +
                          std::chrono::microseconds(100));
    waited_until_ = now + wait;
    return wait;
  }
  tokens_ -= static_cast<double>(bytes);
  return {};
}

bool RateLimit::slows(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  return rate_ != 0 && waited_until_ != Clock::time_point{} && now < waited_until_ + kRecent;
}

bool RateLimit::take(uint64_t bytes, const CancelSource& cancel) {
  for (;;) {
    const auto wait = try_take(bytes, Clock::now());
    if (wait.count() == 0) return true;
    if (!cancel.wait_for(wait)) return false;
  }
}

std::shared_ptr<RateLimit> Bandwidth::of_task(const std::string& task_id,
                                              uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  auto& limit = tasks_[task_id];
  if (!limit) {
    limit = std::make_shared<RateLimit>();
    limit->set(bytes_per_second);
  }
  return limit;
}

std::shared_ptr<RateLimit> Bandwidth::find(const std::string& task_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = tasks_.find(task_id);
  return found == tasks_.end() ? nullptr : found->second;
}

void Bandwidth::forget(const std::string& task_id) {
  const std::lock_guard lock(mutex_);
  tasks_.erase(task_id);
}

std::map<std::string, uint64_t> Bandwidth::tasks() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, uint64_t> out;
  for (const auto& [id, limit] : tasks_) out[id] = limit->rate();
  return out;
}

}  // namespace hyperhost
