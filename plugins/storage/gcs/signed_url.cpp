// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/gcs/signed_url.hpp"

#include <algorithm>
#include <ctime>

#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/object/sigv4.hpp"

namespace hyper::gcs {
namespace {

std::string utc(std::time_t time, const char* format) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, format, &parts);
  return text;
}

}  // namespace

std::string signed_url(const GoogleAuth& auth, const std::string& endpoint,
                       const std::string& bucket, const std::string& key, uint64_t seconds) {
  if (auth.key() == nullptr)
    throw Error(HYPER_CONFIG, "a URL for others can be signed with a service account's key only")
        .hint("set credentials: {file: KEY.json}, or drop presign");
  const std::time_t now = std::time(nullptr);
  const std::string scope = utc(now, "%Y%m%d") + "/auto/storage/goog4_request";
  const std::size_t host_begin = endpoint.find("://") + 3;
  const std::string host = endpoint.substr(host_begin);
  const std::string path = "/" + bucket + "/" + object::uri_encode(key, true);
  const std::string query = object::encoded_query(  // in the order of their names
      {{"X-Goog-Algorithm", "GOOG4-RSA-SHA256"},
       {"X-Goog-Credential", auth.email() + "/" + scope},
       {"X-Goog-Date", utc(now, "%Y%m%dT%H%M%SZ")},
       {"X-Goog-Expires", std::to_string(std::min<uint64_t>(seconds, 604800))},
       {"X-Goog-SignedHeaders", "host"}});
  const std::string canonical =
      "GET\n" + path + "\n" + query + "\nhost:" + host + "\n\nhost\nUNSIGNED-PAYLOAD";
  const std::string text = "GOOG4-RSA-SHA256\n" + utc(now, "%Y%m%dT%H%M%SZ") + "\n" + scope + "\n" +
                           object::hex(object::sha256(canonical));
  return endpoint + path + "?" + query + "&X-Goog-Signature=" + object::hex(auth.key()->sign(text));
}

}  // namespace hyper::gcs
