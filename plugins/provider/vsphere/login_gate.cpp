// SPDX-License-Identifier: Apache-2.0
#include "login_gate.hpp"

#include "session.hpp"

namespace hyper::vsphere {
namespace {
// vCenter's own rule: five refusals within three minutes lock an account for five.
constexpr auto kRemembered = std::chrono::minutes(5);
constexpr auto kLook = std::chrono::milliseconds(50);
}  // namespace

LoginGate& LoginGate::global() {
  static LoginGate gate;
  return gate;
}

void LoginGate::pass(const std::string& account, const http::Cancel& cancel,
                     const std::function<void()>& login) {
  std::shared_ptr<Account> entry;
  {
    const std::lock_guard lock(mutex_);
    auto& slot = accounts_[account];
    if (!slot) slot = std::make_shared<Account>();
    entry = slot;
  }
  std::unique_lock lock(entry->mutex, std::defer_lock);
  // By the system's clock: ThreadSanitizer does not see a lock that waited by another one.
  while (!lock.try_lock_until(std::chrono::system_clock::now() + kLook))
    pause(std::chrono::nanoseconds(0), cancel);
  if (entry->refusal && clock_() - entry->refused < kRemembered) throw Fault(*entry->refusal);
  entry->refusal.reset();
  try {
    login();
  } catch (const Fault& fault) {
    if (fault.is("InvalidLogin")) {
      entry->refusal = fault;
      entry->refused = clock_();
    }
    throw;
  }
}

}  // namespace hyper::vsphere
