// SPDX-License-Identifier: Apache-2.0
#include "core/plan/destination_url.hpp"

#include <algorithm>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

[[noreturn]] void unusable(const std::string& what, const std::string& hint) {
  throw Error(Code::kConfig, what, "", hint);
}

/// "host:80" and "[::1]:80" into host and port.
void split_authority(const std::string& authority, DestinationUrl& out) {
  std::size_t end = authority.size();
  if (authority.starts_with('[')) {
    end = authority.find(']');
    if (end == std::string::npos) unusable("the destination's host has no closing bracket", "");
    ++end;
  } else {
    end = std::min(authority.find(':'), end);
  }
  out.host = authority.substr(0, end);
  if (end == authority.size()) return;
  out.port = authority.substr(std::min(end + 1, authority.size()));
  constexpr int kHighest = 65535;
  const bool digits =
      !out.port.empty() && out.port.size() <= 5 &&
      std::all_of(out.port.begin(), out.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  const int number = digits ? std::stoi(out.port) : 0;
  if (authority[end] != ':' || number < 1 || number > kHighest)
    unusable("the destination's host is followed by something that is no port", "");
}

}  // namespace

std::string scheme_of(std::string_view url) {
  const std::size_t end = url.find("://");
  return end == std::string_view::npos ? std::string() : std::string(url.substr(0, end));
}

DestinationUrl split_destination(const std::string& url) {
  DestinationUrl out;
  out.scheme = scheme_of(url);
  if (out.scheme.empty()) unusable("the destination has no scheme", "write SCHEME://…");
  const std::string rest = url.substr(out.scheme.size() + 3);
  const std::size_t slash = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string authority = rest.substr(0, slash);
  out.path = rest.substr(slash);
  if (authority.find('@') != std::string::npos)  // it may hold a password: never shown
    unusable("a destination may not carry a user or password",
             "they belong to the storage's options, as {env: NAME} or {file: PATH}");
  for (const auto& [mark, what] : {std::pair{'?', "query"}, std::pair{'#', "fragment"}})
    if (out.path.find(mark) != std::string::npos)
      unusable(std::string("a destination may not have a ") + what + ", and this one has a '" +
                   mark + "'",
               "set the storage's options under storage: {plugin: NAME, OPTION: …}");
  split_authority(authority, out);
  return out;
}

}  // namespace hyperhost
