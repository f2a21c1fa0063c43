// SPDX-License-Identifier: Apache-2.0
// One connection of an HttpServer: reads request heads, answers, or turns into an event stream.
// Internal to http_server.cpp; lives on the server's thread, owned by the server and by what it
// waits for.
#pragma once

#include <algorithm>
#include <array>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/watch/http/http_server.hpp"
#include "core/watch/http/http_transport.hpp"

namespace hyperhost::http_detail {

namespace http = boost::beast::http;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kHeadLimit = 8192;
constexpr std::chrono::seconds kLinger{1};
constexpr size_t kLingerLimit = 256 << 10;

class Session final : public std::enable_shared_from_this<Session> {
 public:
  enum class State { kReading, kWriting, kStreaming, kClosing };

  template <class Impl>
  Session(std::unique_ptr<Transport> transport, std::string peer_ip, Impl& server, uint64_t id)
      : transport_(std::move(transport)),
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
  ~Session() {
    if (events_) stream_opened_(-1);
  }

  State state() const { return state_; }

  void start() {
    lowest().expires_after(request_timeout_);
    transport_->handshake([self = shared_from_this()](error_code error, size_t) {
      if (error) return self->close();
      self->read();
    });
  }

  void close() {
    if (std::exchange(gone_called_, true)) return;
    state_ = State::kClosing;
    error_code ignored;
    lowest().socket().close(ignored);
    gone_();
  }

  /// Streams only: sends what is new, a heartbeat, or closes a client that is stuck.
  void poll(SteadyTime now) {
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

  /// The server stops: finishes what is being written, with the newest state for a stream.
  void drain() {
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
  beast::tcp_stream& lowest() { return transport_->lowest(); }

  void read() {
    state_ = State::kReading;
    parser_.emplace();
    parser_->header_limit(kHeadLimit);
    parser_->body_limit(boost::none);  // no body is ever read
    lowest().expires_after(request_timeout_);
    parse();
  }

  /// Takes what is there of a request head and waits for the rest.
  void parse() {
    error_code error;
    if (buffer_.size() != 0) {
      buffer_.consume(parser_->put(buffer_.data(), error));
      if (error && error != http::error::need_more) return on_head(error);
      if (parser_->is_header_done()) return on_head({});
    }
    const size_t space = buffer_.max_size() - buffer_.size();
    if (space == 0) return on_head(http::error::buffer_overflow);
    transport_->read_some(buffer_.prepare(space),
                          [self = shared_from_this()](error_code failure, size_t got) {
                            if (failure == asio::error::eof && self->parser_->got_some())
                              failure = http::error::partial_message;
                            if (failure) return self->on_head(failure);
                            self->buffer_.commit(got);
                            self->parse();
                          });
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
    text_ = head_text(response, keep_alive_, response.body.size());
    if (!head_only_) text_ += response.body;
    lowest().expires_after(write_timeout_);
    transport_->write(asio::buffer(text_), [self = shared_from_this()](error_code error, size_t) {
      if (error) return self->close();
      if (!self->keep_alive_) return self->finish();
      self->read();
    });
  }

  /// length: nothing for a body without end.
  std::string head_text(const HttpResponse& response, bool keep_alive,
                        std::optional<size_t> length) const {
    const auto reason = http::obsolete_reason(http::int_to_status(response.status));
    std::string text = std::string(version_ == 10 ? "HTTP/1.0 " : "HTTP/1.1 ") +
                       std::to_string(response.status) + " " +
                       std::string(reason.data(), reason.size()) + "\r\n";
    const auto add = [&](const std::string& name, const std::string& value) {
      text += name + ": " + value + "\r\n";
    };
    add("Server", "hyperhost");
    if (response.status != 204) {
      add("Content-Type", response.content_type);
      if (length) add("Content-Length", std::to_string(*length));
    }
    add("X-Content-Type-Options", "nosniff");
    add("Cross-Origin-Resource-Policy", "same-origin");
    add("Referrer-Policy", "no-referrer");
    const auto& more = response.headers;
    if (std::none_of(more.begin(), more.end(),
                     [](const auto& header) { return header.first == "Cache-Control"; }))
      add("Cache-Control", "no-store");
    if (keep_alive != (version_ != 10)) add("Connection", keep_alive ? "keep-alive" : "close");
    for (const auto& [name, value] : more) add(name, value);
    return text + "\r\n";
  }

  void begin_stream(HttpResponse response) {
    state_ = State::kStreaming;
    events_ = std::move(response.stream);
    stream_opened_(1);
    response.content_type = "text/event-stream";
    const std::string head = head_text(response, false, std::nullopt) + "retry: 2000\n\n";
    lowest().expires_never();
    bool end = false;
    const std::string first = events_->poll(end);
    send(head + first, end, std::chrono::steady_clock::now());
    watch_for_close();
  }

  /// A client that goes away is noticed at once; what it sends is dropped.
  void watch_for_close() {
    watching_ = true;
    transport_->read_some(asio::buffer(dropped_),
                          [self = shared_from_this()](error_code error, size_t) {
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
    transport_->write(asio::buffer(text_),
                      [self = shared_from_this(), end](error_code error, size_t) {
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
    if (!transport_->shutdown([self = shared_from_this()](error_code, size_t) { self->close(); }))
      linger();
  }

  void linger() {
    transport_->read_some(asio::buffer(dropped_),
                          [self = shared_from_this()](error_code error, size_t got) {
                            self->lingered_ += got;
                            if (error || self->lingered_ > kLingerLimit) return self->close();
                            self->linger();
                          });
  }

  const std::unique_ptr<Transport> transport_;
  State state_ = State::kReading;
  const std::string peer_ip_;
  const std::chrono::milliseconds request_timeout_, write_timeout_, heartbeat_;
  const std::function<HttpResponse(const HttpRequest&, std::string_view, std::string_view,
                                   std::string_view)>
      respond_;
  const std::function<void(int)> stream_opened_;
  const std::function<void()> refused_, gone_;
  beast::flat_static_buffer<kHeadLimit> buffer_;
  std::optional<http::request_parser<http::empty_body>> parser_;
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
