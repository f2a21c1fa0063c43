// SPDX-License-Identifier: Apache-2.0
// One receiver of a migration's news, and what it wants to hear. Plain values.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/plan/webhook_type.hpp"

namespace hyperhost {

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
  std::string channel;  ///< Slack: instead of the hook's own, where it may choose
  /// Email: of the login. Slack and Discord: the name shown; empty: the hook's own, or "hyperhost".
  std::string username;
  // Email:
  std::string from;
  std::vector<std::string> to;
  std::string password;
  bool require_tls = true;  ///< false: STARTTLS only where the server offers it

  bool operator==(const WebhookConfig&) const = default;
};

}  // namespace hyperhost
