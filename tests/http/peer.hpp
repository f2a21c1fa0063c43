// SPDX-License-Identifier: Apache-2.0
// tests/http/peer.py as a child process: started once for a test program, ended with it.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace http_test {

class Peer {
 public:
  static const Peer& instance() {
    static const Peer peer;
    return peer;
  }
  Peer() {
    int in[2], out[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
      ::execlp("python3", "python3", "-B", HTTP_PEER, nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    stdin_ = in[1];
    std::string line;
    char c = 0;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    facts_ = nlohmann::json::parse(line);
  }
  ~Peer() {
    ::close(stdin_);
    ::waitpid(pid_, nullptr, 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(facts_["port"].get<int>()) + path;
  }
  std::string secure_url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(facts_["tls_port"].get<int>()) + path;
  }
  std::string fact(const char* name) const { return facts_[name].get<std::string>(); }
  /// What the path /data holds.
  static std::string data() {
    std::string out(3u << 20, '\0');
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<char>((i * 7 + i / 251) & 255);
    return out;
  }

 private:
  pid_t pid_ = -1;
  int stdin_ = -1;
  nlohmann::json facts_;
};

}  // namespace http_test
