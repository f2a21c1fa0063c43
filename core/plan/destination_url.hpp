// SPDX-License-Identifier: Apache-2.0
// Destinations as users write them: "s3://bucket/prefix". Stateless: any thread.
#pragma once

#include <string>
#include <string_view>

namespace hyperhost {

struct DestinationUrl {
  std::string scheme, host;
  std::string port;  ///< 1 to 65535, or ""
  std::string path;  ///< with its leading slash; "" where the URL ends before one
};

/// Splits a URL. Nothing is decoded: a "%20" stays three characters. Throws Error (kConfig) for a
/// user, a password, a query, a fragment and a malformed port: no storage gets those.
DestinationUrl split_destination(const std::string& url);

/// The scheme of "s3://bucket"; "" if the text has none.
std::string scheme_of(std::string_view url);

}  // namespace hyperhost
