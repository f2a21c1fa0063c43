// SPDX-License-Identifier: Apache-2.0
// One attempt to deliver a notification with libcurl. Each WebhookDelivery belongs to one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

#include "core/watch/webhook/webhook_manager.hpp"
#include "core/watch/webhook/webhook_payload.hpp"

namespace hyperhost {

struct DeliveryResult {
  bool delivered = false;
  bool retryable = false;
  long http_status = 0;                                    ///< 0: no answer
  std::optional<std::chrono::milliseconds> retry_after{};  ///< what the receiver asked for
  std::string error;                                       ///< without the URL
};

/// Throws Error when `config` cannot work: scheme, addresses, characters that break headers.
void check_webhook(const WebhookConfig& config);

class WebhookDelivery {
 public:
  /// `config` must outlive this. `abort`: set from outside, ends a transfer within a second.
  WebhookDelivery(const WebhookConfig& config, std::string user_agent,
                  const std::atomic<bool>& abort);

  DeliveryResult attempt(const Notification& notification, std::chrono::milliseconds timeout);

 private:
  const WebhookConfig& config_;
  const std::string user_agent_;
  const std::atomic<bool>& abort_;
};

}  // namespace hyperhost
