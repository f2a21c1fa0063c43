// SPDX-License-Identifier: Apache-2.0
// A hostile HTTP server on loopback. An input is its answers, one after another, apart by a line
// "%%":
//
//   200
//   ETag: "x"
//
//   the body
//
// It serves one request a connection and closes it; after the last answer it says 404.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "plugins/http/settings.hpp"

namespace fuzz {

class LoopbackServer {
 public:
  LoopbackServer();
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  /// The one of this process.
  static LoopbackServer& instance();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// How clients connect: every address that an answer names leads here as well.
  hyper::http::Settings settings() const;
  void answer_with(std::string_view input);

 private:
  void serve();
  std::string next_answer(bool head);

  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // of what follows
  std::vector<std::string> answers_;
  std::size_t next_ = 0;
  std::thread thread_;
};

}  // namespace fuzz
