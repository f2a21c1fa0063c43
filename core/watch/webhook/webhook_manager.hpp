// SPDX-License-Identifier: Apache-2.0
// WebhookManager notifies Slack, Discord, any HTTP endpoint or a mailbox of migrations.
// Publishing only puts a small value into a bounded queue; each hook has a thread of its own that
// delivers, so a dead endpoint delays neither a migration nor another hook. Thread-safe.
//
// A generic hook gets POST application/json with
//   X-Hyperhost-Event      migration_start, migration_complete, migration_failed, warning, error
//   X-Hyperhost-Delivery   the same UUID over all attempts of one delivery
//   X-Hyperhost-Timestamp  seconds since 1970 of this attempt
//   X-Hyperhost-Signature  "sha256=" and HMAC-SHA256 in hex of "<timestamp>.<body>" (with a secret)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/events/event.hpp"
#include "core/plan/webhook_type.hpp"

namespace hyperhost {

class MetricsCollector;

struct WebhookConfig {
  WebhookType type = WebhookType::kGeneric;
  std::string name;  ///< how it is called in metrics and messages; default "<type>-<position>"
  std::string url;   ///< secret. https://, http://; for email smtps://HOST, smtp://HOST:PORT
  bool enabled = true;
  bool on_start = true, on_complete = true, on_error = true, on_warning = false;
  std::string secret;                                        ///< signs generic payloads
  std::vector<std::pair<std::string, std::string>> headers;  ///< more of them, e.g. Authorization
  std::string ca_file;                                       ///< PEM; empty: the system's
  std::chrono::milliseconds timeout{10'000};                 ///< of one attempt
  unsigned max_attempts = 5;
  std::chrono::milliseconds retry_delay{1'000};  ///< doubles with each attempt, minus up to half
  std::chrono::milliseconds max_delay{60'000};  ///< also bounds what a Retry-After may ask for ×10
  size_t queue_limit = 256;                     ///< the oldest are dropped beyond
  // Email:
  std::string from;
  std::vector<std::string> to;
  std::string username, password;
  bool require_tls = true;  ///< false: STARTTLS only where the server offers it
};

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
  /// Delivers what is queued for drain_timeout at most; what is left then counts as dropped.
  void stop();

  std::vector<WebhookStats> stats() const;
  /// hypersdk_webhook_deliveries_total{hook,type,result}, hypersdk_webhook_retries_total and
  /// hypersdk_queue_length{queue}. The collector may outlive this.
  void expose(MetricsCollector& collector) const;

 private:
  class Hook;
  const Options options_;
  std::vector<std::shared_ptr<Hook>> hooks_;
};

}  // namespace hyperhost
