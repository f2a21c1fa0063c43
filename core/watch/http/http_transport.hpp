// SPDX-License-Identifier: Apache-2.0
// A connection's bytes, with TLS or without. A Session calls these few functions, so that Asio's
// templates are instantiated here, once for each, and not once for each use. Internal to
// http_server.cpp; lives on the server's thread.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <functional>
#include <utility>

namespace hyperhost::http_detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using boost::system::error_code;

class Transport {
 public:
  /// On the server's thread, once; the count is that of bytes.
  using Done = std::function<void(error_code, size_t)>;
  virtual ~Transport() = default;
  /// Without TLS done at once.
  virtual void handshake(Done done) = 0;
  virtual void read_some(asio::mutable_buffer buffer, Done done) = 0;
  /// All of it.
  virtual void write(asio::const_buffer bytes, Done done) = 0;
  /// Says that nothing more will come. False: the peer does not answer that, done is not called.
  virtual bool shutdown(Done done) = 0;
  /// Deadlines, cancel and close.
  virtual beast::tcp_stream& lowest() = 0;
};

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket) : stream_(std::move(socket)) {}
  void handshake(Done done) override { done({}, 0); }
  void read_some(asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void write(asio::const_buffer bytes, Done done) override {
    asio::async_write(stream_, bytes, std::move(done));
  }
  bool shutdown(Done) override {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    return false;
  }
  beast::tcp_stream& lowest() override { return stream_; }

 private:
  beast::tcp_stream stream_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, asio::ssl::context& context)
      : stream_(std::move(socket), context) {}
  void handshake(Done done) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [done = std::move(done)](error_code error) { done(error, 0); });
  }
  void read_some(asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void write(asio::const_buffer bytes, Done done) override {
    asio::async_write(stream_, bytes, std::move(done));
  }
  bool shutdown(Done done) override {
    stream_.async_shutdown([done = std::move(done)](error_code error) { done(error, 0); });
    return true;
  }
  beast::tcp_stream& lowest() override { return beast::get_lowest_layer(stream_); }

 private:
  beast::ssl_stream<beast::tcp_stream> stream_;
};

}  // namespace hyperhost::http_detail
