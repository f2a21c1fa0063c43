// SPDX-License-Identifier: Apache-2.0
// How a client connects: plain values, filled from a plugin's options. HTTP/1.1 over TLS 1.2 or
// later, no redirects followed, no proxy unless one is named (the environment's are ignored).
#ifndef HYPERHOST_PLUGINS_HTTP_SETTINGS_HPP
#define HYPERHOST_PLUGINS_HTTP_SETTINGS_HPP

#include <chrono>
#include <cstdint>
#include <string>

namespace hyper::http {

struct Tls {
  std::string ca_file;  ///< PEM; "" = the system's trust
  std::string
      thumbprint;  ///< hex of the certificate's SHA-1 or SHA-256, ':' allowed; trust it alone
  bool insecure = false;  ///< no check at all
};

struct Settings {
  Tls tls;
  std::string proxy;  ///< "http://host:port", "socks5h://…"; "" = none
  std::string user_agent = "hyperhost";
  std::chrono::milliseconds connect_timeout{30'000};
  /// A transfer fails when fewer than stall_bytes moved, in both directions, in this time. There
  /// is no limit on the whole.
  std::chrono::milliseconds stall_timeout{300'000};
  uint64_t stall_bytes = 1;
};

/// The digits in lower case without colons. Throws (HYPER_CONFIG) unless it is SHA-1 or SHA-256.
std::string normal_thumbprint(const std::string& text);

}  // namespace hyper::http

#endif
