// SPDX-License-Identifier: Apache-2.0
// The secrets this process knows, and their removal from any text that leaves it: logs, audit,
// HTTP answers, webhooks, manifests, the terminal. One for the process (Redactor::global()).
// Any thread.
#pragma once

#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>

namespace hyperhost {

class Redactor {
 public:
  /// Shorter ones are not redacted: they would blank out half of every ordinary text, and with it
  /// tell the secret. The resolver warns of one (see secret.hpp).
  static constexpr size_t kMinimumBytes = 4;

  /// Also knows the secret as JSON and URLs spell it, and each line of one of several lines (a
  /// PEM key is logged by the line). Returns false where it is too short to be redacted.
  bool add(std::string_view secret);

  /// `text` with every secret, also where they overlap, replaced by "[redacted]".
  std::string redact(std::string_view text) const;

  static Redactor& global();

 private:
  void insert(std::string text);

  mutable std::shared_mutex mutex_;
  std::set<std::string, std::less<>> secrets_;
};

}  // namespace hyperhost
