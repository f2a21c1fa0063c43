// SPDX-License-Identifier: Apache-2.0
//
// Every connection is a Session on the one server thread. It reads a request head under a
// deadline, answers, and reads the next; or it turns into a stream, which the server polls on a
// timer whenever its last text is out. What a client can make the server hold is bounded: one
// request head (8 KiB), one response or one batch of events, a small socket buffer. At the
// connection limit a new one takes the place of the oldest that has not finished its request, so
// that clients which only hold connections open cannot lock the others out.
#include "core/watch/http/http_server.hpp"

#include <openssl/crypto.h>
#include <sys/resource.h>

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/watch/http/http_address.hpp"
#include "core/watch/http/http_session.hpp"

namespace hyperhost {

using namespace http_detail;

namespace {

constexpr int kSendBuffer = 64 << 10;
constexpr std::chrono::seconds kDrain{1};
constexpr size_t kKnownPeers = 1024;
// A large audience gets updates less often: its cost for the migration is bounded, not its size.
constexpr std::chrono::microseconds kPerStream{2500};

size_t allowed_connections(size_t wanted) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
  return std::max<size_t>(8, std::min<size_t>(wanted, files.rlim_cur / 2));
}

}  // namespace

HttpResponse http_problem(unsigned status, const std::string& detail) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/problem+json";
  const auto reason = http::obsolete_reason(http::int_to_status(status));
  const nlohmann::json body = {{"type", "about:blank"},
                               {"title", std::string(reason)},
                               {"status", status},
                               {"detail", detail}};
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

struct HttpServer::Impl {
  Impl(HttpHandler& handler_in, HttpServerOptions options_in);

  void accept();
  void tick();
  void make_room();
  void add_session(std::unique_ptr<Transport> transport, std::string peer_ip);
  void remove(uint64_t id) {
    sessions.erase(id);
    connection_count = sessions.size();
    if (stopping && sessions.empty()) drain_timer.cancel();
  }
  HttpResponse respond(const HttpRequest& request, std::string_view host,
                       std::string_view authorization, std::string_view method);
  void note_access(const HttpRequest& request, unsigned status);
  bool token_matches(std::string_view authorization) const;

  HttpHandler& handler;
  const HttpServerOptions options;
  const HttpAddress address;
  const size_t max_connections;
  std::atomic<uint64_t> connection_count{0}, stream_count{0}, request_count{0}, refused_count{0};
  uint16_t port = 0;
  asio::io_context io{1};
  std::optional<asio::ssl::context> tls;
  tcp::acceptor acceptor{io};
  asio::steady_timer tick_timer{io}, accept_timer{io}, drain_timer{io};
  std::map<uint64_t, std::shared_ptr<Session>> sessions;  // by age
  std::map<std::string, SteadyTime> peers_noted;
  uint64_t next_id = 0;
  size_t denials_this_second = 0;
  SteadyTime denial_second;
  bool stopping = false;
  std::jthread thread;
};

HttpServer::Impl::Impl(HttpHandler& handler_in, HttpServerOptions options_in)
    : handler(handler_in),
      options(std::move(options_in)),
      address(parse_http_address(options.address)),
      max_connections(allowed_connections(options.max_connections)) {
  if (!address.loopback && options.bearer_token.empty())
    throw Error(Code::kConfig, "listening on " + options.address + " needs a bearer token", {},
                "set a token from {env: NAME} or {file: PATH}, or listen on 127.0.0.1");
  if (options.tls_certificate_file.empty() != options.tls_key_file.empty())
    throw Error(Code::kConfig, "TLS needs both a certificate file and a key file");
  try {
    if (!options.tls_certificate_file.empty()) {
      tls.emplace(asio::ssl::context::tls_server);
      tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression);
      tls->use_certificate_chain_file(options.tls_certificate_file);
      tls->use_private_key_file(options.tls_key_file, asio::ssl::context::pem);
    }
  } catch (const boost::system::system_error& error) {
    throw Error(Code::kConfig,
                "the TLS certificate " + options.tls_certificate_file + " or its key " +
                    options.tls_key_file + " cannot be used",
                error.code().message());
  }
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(address.ip), address.port);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(asio::socket_base::reuse_address(true));
    if (endpoint.protocol() == tcp::v6()) acceptor.set_option(asio::ip::v6_only(true));
    acceptor.bind(endpoint);
    acceptor.listen();
    port = acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    throw errno_error(error.code().value(), "cannot listen on " + options.address);
  }
}

bool HttpServer::Impl::token_matches(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size() ||
      !beast::iequals(beast::string_view(authorization.data(), kScheme.size()),
                      beast::string_view(kScheme.data(), kScheme.size())))
    return false;
  const std::string_view given = authorization.substr(kScheme.size());
  return given.size() == options.bearer_token.size() &&
         CRYPTO_memcmp(given.data(), options.bearer_token.data(), given.size()) == 0;
}

HttpResponse HttpServer::Impl::respond(const HttpRequest& request, std::string_view host,
                                       std::string_view authorization, std::string_view method) {
  ++request_count;
  HttpRequest decoded = request;
  decoded.method = std::string(method);
  const auto deny = [&](HttpResponse response) {
    ++refused_count;
    if (response.status == 401 || response.status == 403) note_access(decoded, response.status);
    return response;
  };
  try {
    const auto path = decode_path(request.path);
    if (!path) return deny(http_problem(400, "the request target is malformed"));
    decoded.path = *path;
    if (const size_t mark = request.path.find('?'); mark != std::string::npos)
      decoded.query = request.path.substr(mark + 1);
    const bool put = method == "PUT" && handler.takes_put(decoded.path);
    if (put && options.bearer_token.empty())
      return deny(http_problem(403, "changes need a token: progress_api: {listen: …, token: …}"));
    if (!put && method != "GET" && method != "HEAD") {
      const std::string allowed = handler.takes_put(decoded.path) ? "GET, HEAD, PUT" : "GET, HEAD";
      HttpResponse response = http_problem(405, "only " + allowed + " are served here");
      response.headers.emplace_back("Allow", allowed);
      return deny(std::move(response));
    }
    if (options.bearer_token.empty()) {
      if (!host.empty() && !is_direct_host(host))
        return deny(
            http_problem(403,
                         "this server answers to its address or \"localhost\" only; behind a "
                         "proxy, send that as Host, or give the server a token"));
    } else if (!handler.is_public(decoded.path) && !token_matches(authorization)) {
      HttpResponse response = http_problem(401, "this needs the bearer token of the server");
      response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"hyperhost\"");
      return deny(std::move(response));
    }
    HttpResponse response = handler.handle(decoded);
    if (response.stream && stream_count >= options.max_streams) {
      HttpResponse busy = http_problem(503, "too many event streams are open");
      busy.headers.emplace_back("Retry-After", "5");
      return deny(std::move(busy));
    }
    if (!handler.is_public(decoded.path)) note_access(decoded, response.status);
    return response;
  } catch (const std::exception&) {
    return http_problem(500, "the request could not be answered");
  }
}

void HttpServer::Impl::note_access(const HttpRequest& request, unsigned status) {
  if (!options.on_access) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (status == 401 || status == 403) {
    if (now - denial_second > std::chrono::seconds(1)) {
      denial_second = now;
      denials_this_second = 0;
    }
    if (++denials_this_second > 10) return;  // a flood must not rotate the audit log away
  } else {
    if (peers_noted.size() >= kKnownPeers) peers_noted.clear();
    SteadyTime& last = peers_noted[request.peer_ip];
    if (last != SteadyTime{} && now - last < std::chrono::minutes(1)) return;
    last = now;
  }
  options.on_access({request.peer_ip, request.user_agent, request.method, request.path, status});
}

void HttpServer::Impl::make_room() {
  if (sessions.size() < max_connections) return;
  for (const auto& [id, session] : sessions) {
    if (session->state() != Session::State::kReading) continue;
    const auto keep = session;
    ++refused_count;
    keep->close();
    return;
  }
}

void HttpServer::Impl::add_session(std::unique_ptr<Transport> transport, std::string peer_ip) {
  const uint64_t id = next_id++;
  auto session = std::make_shared<Session>(std::move(transport), std::move(peer_ip), *this, id);
  sessions.emplace(id, session);
  connection_count = sessions.size();
  session->start();
}

void HttpServer::Impl::accept() {
  acceptor.async_accept(io, [this](error_code error, tcp::socket socket) {
    if (stopping || error == asio::error::operation_aborted) return;
    if (error) {  // out of descriptors: let some go first
      accept_timer.expires_after(std::chrono::milliseconds(100));
      accept_timer.async_wait([this](error_code wait_error) {
        if (!wait_error && !stopping) accept();
      });
      return;
    }
    make_room();
    if (sessions.size() < max_connections) {
      error_code ignored;
      const std::string peer = socket.remote_endpoint(ignored).address().to_string();
      socket.set_option(asio::socket_base::send_buffer_size(kSendBuffer), ignored);
      socket.set_option(tcp::no_delay(true), ignored);
      if (tls)
        add_session(std::make_unique<TlsTransport>(std::move(socket), *tls), peer);
      else
        add_session(std::make_unique<PlainTransport>(std::move(socket)), peer);
    } else {
      ++refused_count;  // all are being served: this one is closed
    }
    accept();
  });
}

void HttpServer::Impl::tick() {
  tick_timer.expires_after(std::max<std::chrono::steady_clock::duration>(
      options.poll_interval, kPerStream * static_cast<int64_t>(stream_count.load())));
  tick_timer.async_wait([this](error_code error) {
    if (error || stopping) return;
    if (stream_count > 0) {
      handler.refresh();
      const SteadyTime now = std::chrono::steady_clock::now();
      for (auto it = sessions.begin(); it != sessions.end();) {
        const auto session = (it++)->second;  // poll() may remove it
        session->poll(now);
      }
    }
    tick();
  });
}

HttpServer::HttpServer(HttpHandler& handler, HttpServerOptions options)
    : impl_(std::make_unique<Impl>(handler, std::move(options))) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  impl_->accept();
  impl_->tick();
  impl_->thread = std::jthread([this] { impl_->io.run(); });
}

void HttpServer::stop() {
  if (!impl_->thread.joinable()) return;
  asio::post(impl_->io, [impl = impl_.get()] {
    impl->stopping = true;
    error_code ignored;
    impl->acceptor.close(ignored);
    impl->tick_timer.cancel();
    impl->accept_timer.cancel();
    impl->handler.refresh();
    for (auto it = impl->sessions.begin(); it != impl->sessions.end();) {
      const auto session = (it++)->second;
      session->drain();
    }
    impl->drain_timer.expires_after(kDrain);
    impl->drain_timer.async_wait([impl](error_code error) {
      if (error) return;
      while (!impl->sessions.empty()) {
        const auto session = impl->sessions.begin()->second;
        session->close();
      }
    });
    if (impl->sessions.empty()) impl->drain_timer.cancel();
  });
  impl_->thread.join();
  impl_->sessions.clear();
}

uint16_t HttpServer::port() const {
  return impl_->port;
}

std::string HttpServer::url() const {
  const HttpAddress& address = impl_->address;
  const std::string host =
      address.ip.find(':') == std::string::npos ? address.ip : "[" + address.ip + "]";
  return (impl_->tls ? "https://" : "http://") + host + ":" + std::to_string(port());
}

HttpServerStats HttpServer::stats() const {
  return {impl_->connection_count, impl_->stream_count, impl_->request_count, impl_->refused_count};
}

}  // namespace hyperhost
