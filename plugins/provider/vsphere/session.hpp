// SPDX-License-Identifier: Apache-2.0
// A session with the server: version negotiation, login, calls, keepalive, logout. All threads of a
// connection share it. If a session has expired, the next call renews it. A call to a lease does
// not: the lease ended with its session, and a new session would only hide that.
#ifndef HYPERHOST_PLUGINS_VSPHERE_SESSION_HPP
#define HYPERHOST_PLUGINS_VSPHERE_SESSION_HPP

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "endpoint.hpp"
#include "fault.hpp"
#include "plugins/http/client.hpp"
#include "xml.hpp"

namespace hyper::vsphere {

/// A call fails after this time without a byte. Some answers take long.
constexpr std::chrono::seconds kControlStall{120};

/// An answer; its nodes live as long as this.
class Answer {
 public:
  explicit Answer(std::unique_ptr<pugi::xml_document> document);
  /// <MethodResponse>
  const pugi::xml_node& response() const { return response_; }
  pugi::xml_node value() const { return child(response_, "returnval"); }

 private:
  std::unique_ptr<pugi::xml_document> document_;
  pugi::xml_node response_;
};

/// A hash that names a session or an account without revealing its key or password.
std::string fingerprint_of(const std::string& secret);

/// The references of this server's managers.
struct ServiceContent {
  Ref root_folder, property_collector, view_manager, search_index, session_manager,
      authorization_manager;
  std::string product, api_version, api_type, instance_uuid;
  bool is_host() const { return api_type == "HostAgent"; }
};

/// Sleeps. Throws Reported(HYPER_CANCELLED) as soon as it is cancelled.
void pause(std::chrono::nanoseconds time, const http::Cancel& cancel);

/// Ends another thread's waits.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  void raise() noexcept;
  http::Cancel cancel() const { return http::Cancel::on_fd(fd_); }

 private:
  int fd_;
};

class Session {
 public:
  /// Connects and logs in.
  Session(const Settings& settings, Op op);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const ServiceContent& content() const { return content_; }
  const Settings& settings() const { return settings_; }
  http::Client& client() { return client_; }
  /// The session's "Cookie". Only the server itself may get it.
  std::string cookie() const;
  std::string fingerprint() const;
  std::string key() const;
  /// The logged-in user's name, as the server reports it.
  std::string user() const;
  /// Calls f() after each renewal, before any thread uses the new session. Set it before the first
  /// call.
  void on_renewed(std::function<void()> f) { renewed_ = std::move(f); }

  /// Calls a method. what: "cannot list the VMs", for the error. Throws Fault, or Error for an HTTP
  /// failure.
  Answer call(const char* method, const Ref& self, const Args& args, const std::string& what,
              const http::Cancel& cancel);
  /// As call(), but never renews the session: for objects that end with it (a lease, a view, a
  /// page's token).
  Answer call_in_session(const char* method, const Ref& self, const Args& args,
                         const std::string& what, const http::Cancel& cancel) {
    return patiently(method, self, args.str(), what, cancel);
  }
  /// The number of logins so far. An object of an earlier session has ended.
  uint64_t generation() const;

 private:
  Answer post(const char* method, const Ref& self, const std::string& args, const std::string& what,
              const http::Cancel& cancel, std::chrono::seconds stall = kControlStall,
              const std::string& header = {});
  Answer patiently(const char* method, const Ref& self, const std::string& args,
                   const std::string& what, const http::Cancel& cancel);
  void negotiate(const http::Cancel& cancel);
  void login(const http::Cancel& cancel);
  void log_in(const http::Cancel& cancel);
  void logout() noexcept;
  void keep_alive();

  const Settings settings_;
  http::Client client_;
  ServiceContent content_;
  std::string version_ = "6.5";
  std::atomic<uint64_t> calls_{0};

  mutable std::mutex mutex_;  // of what follows
  std::string cookie_, key_, user_;
  uint64_t generation_ = 0;  // logins so far

  std::mutex login_mutex_;
  std::function<void()> renewed_;
  StopSignal stop_;
  std::thread keeper_;
};

}  // namespace hyper::vsphere

#endif
