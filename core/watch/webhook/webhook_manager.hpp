// SPDX-License-Identifier: Apache-2.0
// WebhookManager notifies Slack, Discord, any HTTP endpoint or a mailbox of migrations.
// Publishing only puts a small value into a bounded queue; each hook has a thread of its own that
// delivers, so a dead endpoint delays neither a migration nor another hook. Thread-safe.
//
// A generic hook gets POST application/json with
//   X-Hyperhost-Event      migration_start, migration_complete, migration_failed,
//                          migration_skipped, warning, error, run_start, run_complete, run_failed
//   X-Hyperhost-Delivery   the same UUID over all attempts of one delivery
//   X-Hyperhost-Timestamp  seconds since 1970 of this attempt
//   X-Hyperhost-Signature  "sha256=" and HMAC-SHA256 in hex of "<timestamp>.<body>" (with a secret)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/events/event.hpp"
#include "core/watch/webhook/webhook_config.hpp"

namespace hyperhost {

class MetricsCollector;

struct WebhookStats {
  std::string name;
  WebhookType type = WebhookType::kGeneric;
  uint64_t queued = 0;                                           ///< now, with the one under way
  uint64_t delivered = 0, failed = 0, dropped = 0, retries = 0;  ///< ever
  std::string last_error;  ///< of the newest failed attempt; without the URL
};

class WebhookManager final : public Observer {
 public:
  struct Options {
    std::string user_agent = "hyperhost";
    std::chrono::milliseconds drain_timeout{10'000};  ///< how long the end waits for deliveries
    /// The first delivery of a hook that fails for good after one that did not; on the hook's
    /// thread. Must not publish an event that a webhook would deliver.
    std::function<void(const Diagnostic&)> on_failure;
  };
  /// Throws Error for a configuration that cannot work. Hooks that are not enabled are left out.
  WebhookManager(std::vector<WebhookConfig> hooks, Options options);
  /// stop().
  ~WebhookManager() override;

  void on_event(const Event& event) noexcept override;
  /// These hooks get the news of this task only. Tasks with equal hooks share their threads and
  /// queues. Throws Error as the constructor does.
  void add(const std::vector<WebhookConfig>& hooks, const std::string& task_id);
  /// Delivers what is queued for drain_timeout at most; what is left then counts as dropped.
  void stop();

  std::vector<WebhookStats> stats() const;
  /// hypersdk_webhook_deliveries_total{hook,type,result}, hypersdk_webhook_retries_total and
  /// hypersdk_queue_length{queue}, also of hooks that are added later. The collector outlives this.
  void expose(MetricsCollector& collector);

 private:
  class Hook;
  std::vector<std::shared_ptr<Hook>> hooks() const;
  static void expose(MetricsCollector& collector, const std::shared_ptr<Hook>& hook);

  const Options options_;
  mutable std::mutex mutex_;  // guards everything below
  std::vector<std::shared_ptr<Hook>> hooks_;
  MetricsCollector* collector_ = nullptr;
  bool stopped_ = false;
};

}  // namespace hyperhost
