// SPDX-License-Identifier: Apache-2.0
// A session with the server: version negotiation, login, calls, keepalive, logout. Shared by all of
// a connection's threads. A session that expired is renewed by the next call, except by those to a
// lease: it died with its session, and a new one would only hide that.
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

/// How long a call may move nothing: some answers take their time.
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

/// A hash: names a session or an account without giving away its key or password.
std::string fingerprint_of(const std::string& secret);

/// The managers of this server, as it names them.
struct ServiceContent {
  Ref root_folder, property_collector, view_manager, search_index, session_manager,
      authorization_manager;
  std::string product, api_version, api_type, instance_uuid;
  bool is_host() const { return api_type == "HostAgent"; }
};

/// Sleeps; throws Reported(HYPER_CANCELLED) when cancelled.
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
  /// "Cookie" for the server itself, and for nobody else.
  std::string cookie() const;
  std::string fingerprint() const;
  std::string key() const;
  /// Who is logged in, as the server calls it.
  std::string user() const;
  /// f(): after each renewal, before the new session is used. Set before calls are made.
  void on_renewed(std::function<void()> f) { renewed_ = std::move(f); }

  /// Calls a method. what: "cannot list the VMs", for the error. Throws Fault, or Error for what
  /// HTTP says.
  Answer call(const char* method, const Ref& self, const Args& args, const std::string& what,
              const http::Cancel& cancel);
  /// The same, never in a new session: for what ends with its session (a lease, a view, a page's
  /// token).
  Answer call_in_session(const char* method, const Ref& self, const Args& args,
                         const std::string& what, const http::Cancel& cancel) {
    return patiently(method, self, args.str(), what, cancel);
  }
  /// How often it has logged in: what belongs to an earlier session is gone.
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
