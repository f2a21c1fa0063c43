// SPDX-License-Identifier: Apache-2.0
// The options of a connection that all object stores have: tls, proxy, time-outs.
#ifndef HYPERHOST_OBJECT_HTTP_OPTIONS_HPP
#define HYPERHOST_OBJECT_HTTP_OPTIONS_HPP

#include <hyper/op.hpp>
#include <string>

#include "plugins/http/settings.hpp"

namespace hyper::object {

inline http::Settings read_http_settings(const Doc& config) {
  http::Settings out;
  out.tls.ca_file = config.string("/tls/ca_file");
  out.tls.thumbprint = config.string("/tls/thumbprint");
  out.tls.insecure = config.boolean("/tls/insecure");
  out.proxy = config.string("/proxy");
  const auto ms = [&](const char* option, int64_t otherwise) {
    return std::chrono::milliseconds(config.integer(option, otherwise * 1'000'000) / 1'000'000);
  };
  out.connect_timeout = ms("/connect_timeout", 10'000);
  out.stall_timeout = ms("/stall_timeout", 60'000);
  return out;
}

/// "" or http(s)://HOST[:PORT][/PATH]. Throws HYPER_CONFIG.
inline void check_endpoint(const std::string& url, const std::string& option) {
  if (url.empty()) return;
  const std::size_t host = url.rfind("https://", 0) == 0 ? 8 : url.rfind("http://", 0) == 0 ? 7 : 0;
  if (host == 0 || url.size() == host || url[host] == '/' ||
      url.find_first_of("?#@ ") != std::string::npos)
    throw Error(HYPER_CONFIG, "\"" + url + "\" is no endpoint")
        .hint("write https://HOST or https://HOST:PORT")
        .at(option);
}

}  // namespace hyper::object

#endif
