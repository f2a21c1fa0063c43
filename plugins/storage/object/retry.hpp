// SPDX-License-Identifier: Apache-2.0
// Trying again what may succeed later: exponential back-off with jitter, never earlier than the
// server's Retry-After. Any thread.
#ifndef HYPERHOST_OBJECT_RETRY_HPP
#define HYPERHOST_OBJECT_RETRY_HPP

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <hyper/op.hpp>
#include <string>
#include <thread>

namespace hyper::object {

struct RetryPolicy {
  unsigned attempts = 8;
  std::chrono::nanoseconds first_delay{std::chrono::milliseconds(250)};
  std::chrono::nanoseconds longest_delay{std::chrono::seconds(30)};
  std::chrono::nanoseconds longest_retry_after{std::chrono::minutes(5)};  ///< more = give up

  /// Before attempt number `failed` + 1; between half of the full back-off and all of it.
  std::chrono::nanoseconds delay(unsigned failed, double random) const {
    auto full = first_delay;
    for (unsigned i = 1; i < failed && full < longest_delay; ++i) full *= 2;
    full = std::min(full, longest_delay);
    return std::chrono::nanoseconds(
        static_cast<int64_t>(static_cast<double>(full.count()) * (0.5 + random / 2)));
  }
};

double random_fraction();  ///< from 0 to below 1

/// f(attempt), attempt from 1, until it returns. Throws what f threw last.
template <class F>
auto with_retries(Op op, const RetryPolicy& policy, const std::string& what, F&& f)
    -> decltype(f(1u)) {
  for (unsigned attempt = 1;; ++attempt) {
    std::chrono::nanoseconds wait{0};
    try {
      return f(attempt);
    } catch (const Error& error) {
      const std::chrono::nanoseconds asked(static_cast<int64_t>(
          std::min<uint64_t>(error.retry_after_ns(), static_cast<uint64_t>(INT64_MAX))));
      if (!error.is_retryable() || attempt >= policy.attempts || asked > policy.longest_retry_after)
        throw;
      wait = std::max(policy.delay(attempt, random_fraction()), asked);
      op.debug(what + ": attempt " + std::to_string(attempt) + " of " +
               std::to_string(policy.attempts) + " failed, next in " +
               std::to_string(wait.count() / 1'000'000) + " ms: " + error.what());
    }
    if (op.raw() == nullptr)  // cleaning up cannot be cancelled
      std::this_thread::sleep_for(wait);
    else
      op.sleep_ns(static_cast<uint64_t>(wait.count()));
  }
}

}  // namespace hyper::object

#endif
