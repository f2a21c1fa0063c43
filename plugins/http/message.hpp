// SPDX-License-Identifier: Apache-2.0
// A request and its response, and what stops a wait.
#ifndef HYPERHOST_PLUGINS_HTTP_MESSAGE_HPP
#define HYPERHOST_PLUGINS_HTTP_MESSAGE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <hyper/op.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headers.hpp"

namespace hyper::http {

/// What ends a wait early: a descriptor that becomes readable, such as an operation's cancel_fd.
class Cancel {
 public:
  Cancel(Op op) : fd_(op.cancel_fd()) {}  // NOLINT(google-explicit-constructor): an Op will do
  /// For clean-up, which goes on although the operation was cancelled.
  static Cancel never() { return Cancel(-1); }
  static Cancel on_fd(int fd) { return Cancel(fd); }
  int fd() const { return fd_; }

 private:
  explicit Cancel(int fd) : fd_(fd) {}
  int fd_;
};

struct Request {
  std::string method = "GET";
  std::string url;  ///< without user info; its query is never shown in messages
  std::vector<std::pair<std::string, std::string>> headers;

  /// A body from memory (borrowed until the call returns) …
  std::string_view body;
  /// … or, where set, from a function: fills the buffer and returns how much, 0 = end. What it
  /// throws ends the transfer and comes out of the call.
  std::function<std::size_t(char* buffer, std::size_t size)> read_body;
  /// Of read_body; nothing = chunked.
  std::optional<uint64_t> read_body_length;

  /// Bytes [first, last] only; the answer must be checked (Client::read_range does).
  std::optional<std::pair<uint64_t, uint64_t>> range;

  std::optional<std::chrono::milliseconds> stall_timeout;  ///< instead of the settings'
  /// Of the whole transfer, for what is small: a server that trickles is no stall.
  std::optional<std::chrono::milliseconds> time_limit;
  std::string shown;              ///< in messages instead of the URL, where its path is a secret
  uint64_t max_body = 64u << 20;  ///< of the response, for Client::send
};

struct Response {
  long status = 0;
  Headers headers;
  std::string body;

  bool ok() const { return status >= 200 && status < 300; }
};

}  // namespace hyper::http

#endif
