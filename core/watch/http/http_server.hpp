// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server for reading state: GET and HEAD, server-sent events, bearer token, TLS.
// One thread serves all connections (Boost.Beast), so a thousand slow ones cost memory of a known
// bound and no threads; a publisher of state never waits for it. Start, stop and destroy it on
// one thread; the handler runs on the server's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

struct HttpRequest {
  std::string method;  ///< "GET", "HEAD", or "PUT" where the handler takes it
  std::string path;    ///< percent-decoded, without the query
  std::string query;   ///< as sent, without '?'
  std::string last_event_id, user_agent, peer_ip;
};

/// One client's server-sent events. The server asks when the client has taken the last text, so
/// nothing piles up for a slow one: it gets the state as it is then.
class EventStream {
 public:
  virtual ~EventStream() = default;
  /// What is new since the last call, as complete SSE events; "" = nothing. Sets `end` with the
  /// last.
  virtual std::string poll(bool& end) = 0;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::unique_ptr<EventStream> stream;  ///< set: answer with server-sent events instead
};

/// RFC 9457 problem details.
HttpResponse http_problem(unsigned status, const std::string& detail);

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  virtual HttpResponse handle(const HttpRequest& request) = 0;
  /// May this be asked without the token (a page without data, a health check)?
  virtual bool is_public(const std::string& path) const = 0;
  /// May this be PUT (with the server's token; without one nothing can be changed)? The request's
  /// query says what; no body is read.
  virtual bool takes_put(const std::string& /*path*/) const { return false; }
  /// Before the streams are polled, several times a second while there are any.
  virtual void refresh() {}
};

struct HttpAccess {
  std::string peer_ip, user_agent, method, path;
  unsigned status = 0;
};

struct HttpServerOptions {
  /// "127.0.0.1:8080", "[::1]:8080", "localhost:8080", "0.0.0.0:8080"; ":8080" and "8080" mean
  /// loopback; port 0 lets the system choose.
  std::string address = "127.0.0.1:0";
  std::string bearer_token;                        ///< needed for any address that is not loopback
  std::string tls_certificate_file, tls_key_file;  ///< PEM; both or neither
  size_t max_connections = 512;  ///< at most half of the process's file limit is used
  size_t max_streams = 384;
  std::chrono::milliseconds request_timeout{10'000};  ///< for a whole request head, and between two
  std::chrono::milliseconds write_timeout{30'000};    ///< for a client to take what was sent
  std::chrono::milliseconds poll_interval{200};  ///< of streams; longer with more than 80 of them
  std::chrono::milliseconds heartbeat{15'000};
  /// Denied requests, and accepted ones once a minute for each peer; for the audit log.
  std::function<void(const HttpAccess&)> on_access;
};

struct HttpServerStats {
  uint64_t connections = 0, streams = 0;  ///< now
  uint64_t requests = 0, refused = 0;     ///< ever; refused: denied, malformed or over a limit
};

class HttpServer {
 public:
  /// Binds; throws Error when the address is taken, not allowed or the certificate is unusable.
  /// `handler` must outlive the server.
  HttpServer(HttpHandler& handler, HttpServerOptions options);
  /// stop().
  ~HttpServer();

  void start();
  /// Gives each stream what is new, then ends all connections; takes two seconds at most.
  void stop();
  uint16_t port() const;
  /// "http://127.0.0.1:8080".
  std::string url() const;
  HttpServerStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hyperhost
