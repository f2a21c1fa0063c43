// SPDX-License-Identifier: Apache-2.0
#include "core/watch/http/http_address.hpp"

#include <boost/asio/ip/address.hpp>
#include <charconv>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

boost::asio::ip::address to_ip(std::string_view text, boost::system::error_code& error) {
  return boost::asio::ip::make_address(std::string(text), error);
}

std::optional<unsigned char> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned char>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned char>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned char>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

HttpAddress parse_http_address(std::string_view text) {
  const auto bad = [&] {
    return Error(Code::kConfig, "\"" + std::string(text) + "\" is no address to listen on", {},
                 "write ADDRESS:PORT, e.g. 127.0.0.1:8080 or [::1]:8080");
  };
  const size_t colon = text.rfind(':');
  std::string_view host = colon == std::string_view::npos ? "" : text.substr(0, colon);
  const std::string_view port = colon == std::string_view::npos ? text : text.substr(colon + 1);
  HttpAddress address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || port.empty()) throw bad();
  if (host.empty() || host == "localhost") host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    throw bad();
  boost::system::error_code ip_error;
  const auto ip = to_ip(host, ip_error);
  if (ip_error) throw bad();
  address.ip = ip.to_string();
  address.loopback = ip.is_loopback();
  return address;
}

bool is_direct_host(std::string_view host) {
  if (!host.empty() && host.front() == '[') {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return false;
    host = host.substr(1, end - 1);
  } else {
    host = host.substr(0, host.rfind(':'));
  }
  if (host == "localhost") return true;
  boost::system::error_code error;
  to_ip(host, error);
  return !error;
}

std::optional<std::string> decode_path(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (target.empty() || target.front() != '/') return std::nullopt;
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      if (i + 2 >= target.size()) return std::nullopt;
      const auto high = hex_value(target[i + 1]), low = hex_value(target[i + 2]);
      if (!high || !low) return std::nullopt;
      c = static_cast<char>(*high << 4 | *low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
    path += c;
  }
  return path;
}

}  // namespace hyperhost
