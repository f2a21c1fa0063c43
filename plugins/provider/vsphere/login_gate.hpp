// SPDX-License-Identifier: Apache-2.0
// Prevents that a wrong password locks the account: servers lock an account after a few refused
// logins, and a plan of ten VMs would log in ten times. One login per account runs at a time. After
// a refusal the process does not try that password again for five minutes. Any thread.
#ifndef HYPERHOST_PLUGINS_VSPHERE_LOGIN_GATE_HPP
#define HYPERHOST_PLUGINS_VSPHERE_LOGIN_GATE_HPP

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "fault.hpp"
#include "plugins/http/message.hpp"

namespace hyper::vsphere {

class LoginGate {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  explicit LoginGate(Clock clock = std::chrono::steady_clock::now) : clock_(std::move(clock)) {}

  /// The gate of this process.
  static LoginGate& global();

  /// Calls login(), or throws the refusal of the last five minutes. account: a hash of server, user
  /// and password.
  void pass(const std::string& account, const http::Cancel& cancel,
            const std::function<void()>& login);

 private:
  struct Account {
    std::timed_mutex mutex;  // held during a login
    std::optional<Fault> refusal;
    std::chrono::steady_clock::time_point refused;
  };

  const Clock clock_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Account>> accounts_;
};

}  // namespace hyper::vsphere

#endif
