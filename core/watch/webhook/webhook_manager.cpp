// SPDX-License-Identifier: Apache-2.0
#include "core/watch/webhook/webhook_manager.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "core/base/random_id.hpp"
#include "core/watch/metrics/metrics_collector.hpp"
#include "core/watch/webhook/webhook_delivery.hpp"
#include "core/watch/webhook/webhook_payload.hpp"

namespace hyperhost {

/// A queue and the thread that empties it.
class WebhookManager::Hook {
 public:
  using Clock = std::chrono::steady_clock;

  /// tasks: whose news it gets; empty = all.
  Hook(WebhookConfig config, const Options& options, std::set<std::string> tasks = {})
      : config_(std::move(config)), tasks_(std::move(tasks)) {
    stats_.name = config_.name;
    stats_.type = config_.type;
    on_failure_ = options.on_failure;
    thread_ = std::jthread([this, agent = options.user_agent] { run(agent); });
  }

  const WebhookConfig& config() const { return config_; }
  /// False: it gets the news of all tasks, or takes no more.
  bool add_task(const std::string& task_id) {
    std::lock_guard lock(mutex_);
    if (tasks_.empty() || draining_) return false;
    tasks_.insert(task_id);
    return true;
  }

  bool wants(const Notification& notification) const {
    if (!hears(notification.task.get())) return false;
    switch (notification.kind) {
      case Notification::Kind::kStart:
        return config_.on_start;
      case Notification::Kind::kComplete:
        return config_.on_complete;
      case Notification::Kind::kError:
        return config_.on_error;
      case Notification::Kind::kWarning:
        return config_.on_warning;
      case Notification::Kind::kRunEnd:
        return config_.on_complete || (config_.on_error && notification.status != "completed");
    }
    return false;
  }

  void push(const Notification& notification) {
    std::lock_guard lock(mutex_);
    if (draining_) {
      ++stats_.dropped;
      return;
    }
    if (queue_.size() >= config_.queue_limit) {
      queue_.pop_front();
      ++stats_.dropped;
    }
    queue_.push_back(notification);
    changed_.notify_all();
  }

  void begin_drain(Clock::time_point deadline) {
    std::lock_guard lock(mutex_);
    draining_ = true;
    deadline_ = deadline;
    changed_.notify_all();
  }

  void finish_drain() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, deadline_, [this] { return done_; });
      if (!done_) abort_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  WebhookStats stats() const {
    std::lock_guard lock(mutex_);
    WebhookStats stats = stats_;
    stats.queued = queue_.size() + (busy_ ? 1 : 0);
    return stats;
  }

 private:
  bool hears(const TaskInfo* task) const {
    std::lock_guard lock(mutex_);
    return tasks_.empty() || (task != nullptr && tasks_.contains(task->task_id));
  }

  void run(const std::string& user_agent) {
    try {
      WebhookDelivery delivery(config_, user_agent, abort_);
      while (const auto notification = next()) deliver(delivery, *notification);
    } catch (const std::exception& exception) {
      std::lock_guard lock(mutex_);
      stats_.last_error = exception.what();
    }
    std::lock_guard lock(mutex_);
    stats_.dropped += queue_.size();
    queue_.clear();
    busy_ = false;
    draining_ = done_ = true;
    changed_.notify_all();
  }

  /// Nothing when draining and empty, or out of time.
  std::optional<Notification> next() {
    std::unique_lock lock(mutex_);
    busy_ = false;
    changed_.wait(lock, [this] { return draining_ || !queue_.empty(); });
    if (queue_.empty() || (draining_ && Clock::now() >= deadline_)) return std::nullopt;
    Notification notification = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    return notification;
  }

  void deliver(WebhookDelivery& delivery, const Notification& notification) {
    for (unsigned attempt = 1;; ++attempt) {
      const DeliveryResult result = delivery.attempt(notification, time_for_attempt());
      std::unique_lock lock(mutex_);
      if (result.delivered) {
        ++stats_.delivered;
        failing_ = false;
        return;
      }
      stats_.last_error = result.error;
      const bool again = result.retryable && attempt < config_.max_attempts;
      if (again && wait_before_retry(lock, attempt, result)) {
        ++stats_.retries;
        continue;
      }
      ++stats_.failed;
      const bool first = !std::exchange(failing_, true);
      lock.unlock();
      if (first && on_failure_) on_failure_(failure(result.error, attempt));
      return;
    }
  }

  std::chrono::milliseconds time_for_attempt() const {
    std::lock_guard lock(mutex_);
    if (!draining_) return config_.timeout;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
    return std::clamp(left, std::chrono::milliseconds(1), config_.timeout);
  }

  /// False when the time left at the end is too short for another attempt.
  bool wait_before_retry(std::unique_lock<std::mutex>& lock, unsigned attempt,
                         const DeliveryResult& result) {
    auto delay = config_.retry_delay;
    for (unsigned i = 1; i < attempt && delay < config_.max_delay; ++i) delay *= 2;
    delay = std::min(delay, config_.max_delay);
    // Jitter, so that a hundred hosts do not come back to a receiver at once.
    delay -= std::chrono::milliseconds(
        std::uniform_int_distribution<int64_t>(0, delay.count() / 2)(random_));
    if (result.retry_after)
      delay = std::max(delay, std::min(*result.retry_after, config_.max_delay * 10));
    const auto until = Clock::now() + delay;
    while (Clock::now() < until) {
      if (abort_ || (draining_ && until >= deadline_)) return false;
      changed_.wait_until(lock, until);
    }
    return true;
  }

  Diagnostic failure(const std::string& error, unsigned attempts) const {
    Diagnostic diagnostic;
    diagnostic.severity = Severity::kWarning;
    diagnostic.code = Code::kIo;
    diagnostic.summary = "webhook " + config_.name + " could not be delivered in " +
                         std::to_string(attempts) + (attempts == 1 ? " attempt" : " attempts");
    diagnostic.detail = error;
    return diagnostic;
  }

  const WebhookConfig config_;
  std::function<void(const Diagnostic&)> on_failure_;
  std::minstd_rand random_{std::random_device{}()};  // this hook's thread only
  std::atomic<bool> abort_{false};
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::set<std::string> tasks_;
  std::deque<Notification> queue_;
  WebhookStats stats_;
  bool busy_ = false, failing_ = false, draining_ = false, done_ = false;
  Clock::time_point deadline_;
  std::jthread thread_;  // last: it uses all of the above
};

WebhookManager::WebhookManager(std::vector<WebhookConfig> hooks, Options options)
    : options_(std::move(options)) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    WebhookConfig& config = hooks[i];
    if (config.name.empty())
      config.name = std::string(webhook_type_name(config.type)) + "-" + std::to_string(i);
    check_webhook(config);
  }
  try {
    for (WebhookConfig& config : hooks)
      if (config.enabled) hooks_.push_back(std::make_shared<Hook>(std::move(config), options_));
  } catch (...) {
    stop();  // the threads already running
    throw;
  }
}

WebhookManager::~WebhookManager() {
  stop();
}

void WebhookManager::on_event(const Event& event) noexcept {
  try {
    auto notification = make_notification(event);
    if (!notification) return;
    for (const auto& hook : hooks()) {
      if (!hook->wants(*notification)) continue;
      notification->delivery_id = random_id();
      hook->push(*notification);
    }
  } catch (const std::exception&) {
    // Out of memory: the notification is lost, the migration continues.
  }
}

void WebhookManager::add(const std::vector<WebhookConfig>& configs, const std::string& task_id) {
  for (const WebhookConfig& config : configs) check_webhook(config);
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  for (WebhookConfig config : configs) {
    if (!config.enabled) continue;
    const auto shared = std::find_if(hooks_.begin(), hooks_.end(), [&](const auto& hook) {
      WebhookConfig other = hook->config();
      if (config.name.empty()) other.name.clear();
      return other == config && hook->add_task(task_id);
    });
    if (shared != hooks_.end()) continue;
    const auto taken = [&](const std::string& name) {
      return std::any_of(hooks_.begin(), hooks_.end(),
                         [&](const auto& hook) { return hook->config().name == name; });
    };
    for (size_t i = hooks_.size(); config.name.empty(); ++i) {
      const std::string name =
          std::string(webhook_type_name(config.type)) + "-" + std::to_string(i);
      if (!taken(name)) config.name = name;
    }
    hooks_.push_back(
        std::make_shared<Hook>(std::move(config), options_, std::set<std::string>{task_id}));
    if (collector_ != nullptr) expose(*collector_, hooks_.back());
  }
}

std::vector<std::shared_ptr<WebhookManager::Hook>> WebhookManager::hooks() const {
  std::lock_guard lock(mutex_);
  return hooks_;
}

void WebhookManager::stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  const auto deadline = std::chrono::steady_clock::now() + options_.drain_timeout;
  for (const auto& hook : hooks()) hook->begin_drain(deadline);
  for (const auto& hook : hooks()) hook->finish_drain();
}

std::vector<WebhookStats> WebhookManager::stats() const {
  std::vector<WebhookStats> result;
  for (const auto& hook : hooks()) result.push_back(hook->stats());
  return result;
}

void WebhookManager::expose(MetricsCollector& collector) {
  std::lock_guard lock(mutex_);
  collector_ = &collector;
  for (const auto& hook : hooks_) expose(collector, hook);
}

void WebhookManager::expose(MetricsCollector& collector, const std::shared_ptr<Hook>& hook) {
  const WebhookStats about = hook->stats();
  const auto count = [&](const char* result, uint64_t WebhookStats::*member) {
    collector.add_counter(
        "hypersdk_webhook_deliveries_total", "Webhook notifications, by what became of them.",
        {{"hook", about.name}, {"type", webhook_type_name(about.type)}, {"result", result}},
        [hook, member] { return static_cast<double>(hook->stats().*member); });
  };
  count("delivered", &WebhookStats::delivered);
  count("failed", &WebhookStats::failed);
  count("dropped", &WebhookStats::dropped);
  collector.add_counter("hypersdk_webhook_retries_total", "Webhook attempts that were repeated.",
                        {{"hook", about.name}},
                        [hook] { return static_cast<double>(hook->stats().retries); });
  collector.add_gauge("hypersdk_queue_length", "Entries waiting, by queue.",
                      {{"queue", "webhook-" + about.name}},
                      [hook] { return static_cast<double>(hook->stats().queued); });
}

}  // namespace hyperhost
