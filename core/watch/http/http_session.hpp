// SPDX-License-Identifier: Apache-2.0
// One connection of an HttpServer: reads request heads, answers, or turns into an event stream.
// Internal to http_server.cpp; lives on the server's thread, owned by the server and by what it
// waits for.
#pragma once

#include <array>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

#include "core/watch/http/http_server.hpp"

namespace hyperhost::http_detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kHeadLimit = 8192;
constexpr std::chrono::seconds kLinger{1};
constexpr size_t kLingerLimit = 256 << 10;

class SessionBase {
 public:
  enum class State { kReading, kWriting, kStreaming, kClosing };
  virtual ~SessionBase() = default;
  virtual void start() = 0;
  virtual void close() = 0;
  /// Streams only: sends what is new, a heartbeat, or closes a client that is stuck.
  virtual void poll(SteadyTime now) = 0;
  /// The server stops: finishes what is being written, with the newest state for a stream.
  virtual void drain() = 0;
  State state() const { return state_; }

 protected:
  State state_ = State::kReading;
};

template <class Stream>
class Session final : public SessionBase, public std::enable_shared_from_this<Session<Stream>> {
 public:
  static constexpr bool kTls = !std::is_same_v<Stream, beast::tcp_stream>;
  using Server = HttpServer;

  template <class Impl>
  Session(Stream stream, std::string peer_ip, Impl& server, uint64_t id)
      : stream_(std::move(stream)),
        peer_ip_(std::move(peer_ip)),
        request_timeout_(server.options.request_timeout),
        write_timeout_(server.options.write_timeout),
        heartbeat_(server.options.heartbeat),
        respond_([&server](const HttpRequest& request, std::string_view host,
                           std::string_view authorization, std::string_view method) {
          return server.respond(request, host, authorization, method);
        }),
        stream_opened_([&server](int by) { server.stream_count += static_cast<uint64_t>(by); }),
        refused_([&server] { ++server.refused_count; }),
        gone_([&server, id] { server.remove(id); }) {}
  ~Session() override {
    if (events_) stream_opened_(-1);
  }

  void start() override {
    if constexpr (kTls) {
      lowest().expires_after(request_timeout_);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code error) {
                                if (error) return self->close();
                                self->read();
                              });
    } else {
      read();
    }
  }

  void close() override {
    if (std::exchange(gone_called_, true)) return;
    state_ = State::kClosing;
    error_code ignored;
    lowest().socket().close(ignored);
    gone_();
  }

  void poll(SteadyTime now) override {
    if (state_ != State::kStreaming) return;
    if (writing_) {
      if (now - write_began_ > write_timeout_) close();
      return;
    }
    bool end = false;
    std::string text = events_->poll(end);
    if (text.empty() && !end) {
      if (now - write_began_ < heartbeat_) return;
      text = ": still here\n\n";
    }
    send(std::move(text), end, now);
  }

  void drain() override {
    if (state_ == State::kReading) return close();
    if (state_ != State::kStreaming) return;
    if (writing_) {
      draining_ = true;
      return;
    }
    bool end = false;
    send(events_->poll(end), true, std::chrono::steady_clock::now());
  }

 private:
  auto& lowest() { return beast::get_lowest_layer(stream_); }

  void read() {
    state_ = State::kReading;
    parser_.emplace();
    parser_->header_limit(kHeadLimit);
    parser_->body_limit(boost::none);  // no body is ever read
    lowest().expires_after(request_timeout_);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](error_code error, size_t) { self->on_head(error); });
  }

  void on_head(error_code error) {
    if (state_ == State::kClosing) return;
    const bool of_http =
        error.category() == http::make_error_code(http::error::bad_method).category();
    if (error && (!of_http || error == http::error::end_of_stream)) return close();
    if (error) {
      refused_();
      keep_alive_ = false;
      head_only_ = false;
      version_ = 11;
      if (error == http::error::header_limit || error == http::error::buffer_overflow)
        return answer(http_problem(431, "the request head is over 8 KiB"));
      return answer(http_problem(400, "this is no HTTP request: " + error.message()));
    }
    const auto& head = parser_->get();
    version_ = head.version();
    // A body is not read: answer, then end the connection.
    const auto length = parser_->content_length();
    keep_alive_ = head.keep_alive() && !parser_->chunked() && (!length || *length == 0);
    head_only_ = head.method() == http::verb::head;
    const auto field = [&](http::field name) {
      const auto value = head[name];
      return std::string(value.data(), value.size());
    };
    HttpRequest request;
    request.method = head_only_ ? "HEAD" : "GET";
    request.path = std::string(head.target().data(), head.target().size());
    const auto last_id = head["Last-Event-ID"];
    request.last_event_id.assign(last_id.data(), last_id.size());
    request.user_agent = field(http::field::user_agent);
    request.peer_ip = peer_ip_;
    const auto method = head.method_string();
    answer(respond_(request, field(http::field::host), field(http::field::authorization),
                    {method.data(), method.size()}));
  }

  void answer(HttpResponse response) {
    if (response.stream && !head_only_) return begin_stream(std::move(response));
    state_ = State::kWriting;
    if (response.stream) response.content_type = "text/event-stream";
    response_ = {};
    response_.version(version_);
    response_.result(response.status);
    set_headers(response_, response);
    response_.keep_alive(keep_alive_);
    if (response.status != 204) response_.content_length(response.body.size());
    if (!head_only_) response_.body() = std::move(response.body);
    serializer_.emplace(response_);
    lowest().expires_after(write_timeout_);
    auto done = [self = this->shared_from_this()](error_code error, size_t) {
      if (error) return self->close();
      if (!self->keep_alive_) return self->finish();
      self->read();
    };
    if (head_only_)
      http::async_write_header(stream_, *serializer_, std::move(done));
    else
      http::async_write(stream_, *serializer_, std::move(done));
  }

  template <class Message>
  static void set_headers(Message& message, const HttpResponse& response) {
    message.set(http::field::server, "hyperhost");
    if (response.status != 204) message.set(http::field::content_type, response.content_type);
    message.set("X-Content-Type-Options", "nosniff");
    message.set("Cross-Origin-Resource-Policy", "same-origin");
    message.set("Referrer-Policy", "no-referrer");
    message.set(http::field::cache_control, "no-store");
    for (const auto& [name, value] : response.headers) message.set(name, value);
  }

  void begin_stream(HttpResponse response) {
    state_ = State::kStreaming;
    events_ = std::move(response.stream);
    stream_opened_(1);
    response.content_type = "text/event-stream";
    http::response<http::empty_body> head;
    head.version(version_);
    set_headers(head, response);
    head.keep_alive(false);
    std::ostringstream text;
    text << head.base() << "retry: 2000\n\n";
    lowest().expires_never();
    bool end = false;
    std::string first = events_->poll(end);
    send(text.str() + first, end, std::chrono::steady_clock::now());
    watch_for_close();
  }

  /// A client that goes away is noticed at once; what it sends is dropped.
  void watch_for_close() {
    watching_ = true;
    stream_.async_read_some(asio::buffer(dropped_),
                            [self = this->shared_from_this()](error_code error, size_t) {
                              self->watching_ = false;
                              if (self->gone_called_) return;
                              if (self->state_ == State::kClosing) return self->end_connection();
                              if (error) return self->close();
                              self->watch_for_close();
                            });
  }

  void send(std::string text, bool end, SteadyTime now) {
    writing_ = true;
    write_began_ = now;
    text_ = std::move(text);
    asio::async_write(stream_, asio::buffer(text_),
                      [self = this->shared_from_this(), end](error_code error, size_t) {
                        self->writing_ = false;
                        if (error) return self->close();
                        if (end) return self->finish();
                        if (self->draining_) self->drain();
                      });
  }

  void finish() {
    if (state_ == State::kClosing) return;
    state_ = State::kClosing;
    if (watching_)
      lowest().cancel();  // one read at a time: its end goes on to end_connection
    else
      end_connection();
  }

  /// Ends the connection so that the client gets everything: closing while it still sends would
  /// reset the connection and may discard what is under way.
  void end_connection() {
    lowest().expires_after(kLinger);
    if constexpr (kTls) {
      stream_.async_shutdown([self = this->shared_from_this()](error_code) { self->close(); });
    } else {
      error_code ignored;
      lowest().socket().shutdown(tcp::socket::shutdown_send, ignored);
      linger();
    }
  }

  void linger() {
    stream_.async_read_some(asio::buffer(dropped_),
                            [self = this->shared_from_this()](error_code error, size_t got) {
                              self->lingered_ += got;
                              if (error || self->lingered_ > kLingerLimit) return self->close();
                              self->linger();
                            });
  }

  Stream stream_;
  const std::string peer_ip_;
  const std::chrono::milliseconds request_timeout_, write_timeout_, heartbeat_;
  const std::function<HttpResponse(const HttpRequest&, std::string_view, std::string_view,
                                   std::string_view)>
      respond_;
  const std::function<void(int)> stream_opened_;
  const std::function<void()> refused_, gone_;
  beast::flat_static_buffer<kHeadLimit> buffer_;
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::unique_ptr<EventStream> events_;
  std::string text_;
  std::array<char, 512> dropped_{};
  size_t lingered_ = 0;
  unsigned version_ = 11;
  bool keep_alive_ = false, head_only_ = false, writing_ = false, draining_ = false,
       watching_ = false;
  bool gone_called_ = false;
  SteadyTime write_began_;
};

}  // namespace hyperhost::http_detail
