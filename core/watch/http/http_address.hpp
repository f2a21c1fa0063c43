// SPDX-License-Identifier: Apache-2.0
// Where an HTTP server listens and by which names it may be called. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hyperhost {

struct HttpAddress {
  std::string ip;  ///< without brackets
  uint16_t port = 0;
  bool loopback = true;
};
/// HttpServerOptions::address. Throws Error when it is none.
HttpAddress parse_http_address(std::string_view text);

/// Is `host`, as in a Host header, "localhost" or an IP address? A page elsewhere that points a
/// name of its own at 127.0.0.1 (DNS rebinding) sends that name.
bool is_direct_host(std::string_view host);

/// Percent-decodes the path of a request target, without its query. Nothing when it is malformed,
/// does not begin with '/' or holds control characters.
std::optional<std::string> decode_path(std::string_view target);

}  // namespace hyperhost
