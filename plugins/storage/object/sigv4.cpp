// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/sigv4.hpp"

#include <algorithm>
#include <map>

#include "plugins/storage/object/digest.hpp"

namespace hyper::object {
namespace {

constexpr const char* kAlgorithm = "AWS4-HMAC-SHA256";

std::string utc(std::time_t time, const char* format) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, format, &parts);
  return text;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// Without blanks at its ends, and with one for each run of them inside.
std::string squeezed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' && c != '\t')
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string canonical_query(const Fields& query) {
  Fields encoded;
  for (const auto& [name, value] : query)
    encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string scope_of(const ToSign& to_sign) {
  return utc(to_sign.time, "%Y%m%d") + "/" + to_sign.region + "/" + to_sign.service +
         "/aws4_request";
}

std::string signature(const ToSign& to_sign, const Fields& query,
                      const std::map<std::string, std::string>& headers,
                      const std::string& signed_names, const std::string& secret_key) {
  std::string canonical =
      to_sign.method + "\n" + to_sign.path + "\n" + canonical_query(query) + "\n";
  for (const auto& [name, value] : headers) canonical += name + ":" + value + "\n";
  canonical += "\n" + signed_names + "\n" + to_sign.payload_sha256;
  const std::string to_hash = std::string(kAlgorithm) + "\n" + utc(to_sign.time, "%Y%m%dT%H%M%SZ") +
                              "\n" + scope_of(to_sign) + "\n" + hex(sha256(canonical));
  std::string key = "AWS4" + secret_key;
  for (const std::string& step :
       {utc(to_sign.time, "%Y%m%d"), to_sign.region, to_sign.service, std::string("aws4_request")})
    key = hmac_sha256(key, step);
  return hex(hmac_sha256(key, to_hash));
}

std::string names_of(const std::map<std::string, std::string>& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
  return out;
}

}  // namespace

std::string encoded_query(const Fields& query) {
  std::string out;
  for (const auto& [name, value] : query)
    out += (out.empty() ? "" : "&") + uri_encode(name, false) + "=" + uri_encode(value, false);
  return out;
}

Fields sign(const ToSign& to_sign, const AwsCredentials& credentials) {
  Fields out = {{"X-Amz-Date", utc(to_sign.time, "%Y%m%dT%H%M%SZ")}};
  if (to_sign.service == "s3") out.emplace_back("X-Amz-Content-Sha256", to_sign.payload_sha256);
  if (!credentials.session_token.empty())
    out.emplace_back("X-Amz-Security-Token", credentials.session_token);
  std::map<std::string, std::string> headers = {{"host", to_sign.host}};
  const Fields own = out;
  for (const Fields* fields : {&to_sign.headers, &own})
    for (const auto& [name, value] : *fields) headers[lower(name)] = squeezed(value);
  const std::string names = names_of(headers);
  out.emplace_back("Authorization",
                   std::string(kAlgorithm) + " Credential=" + credentials.access_key + "/" +
                       scope_of(to_sign) + ", SignedHeaders=" + names + ", Signature=" +
                       signature(to_sign, to_sign.query, headers, names, credentials.secret_key));
  return out;
}

std::string presigned_query(const ToSign& to_sign, const AwsCredentials& credentials,
                            uint64_t seconds) {
  ToSign url = to_sign;
  url.payload_sha256 = "UNSIGNED-PAYLOAD";
  url.query.insert(url.query.end(),
                   {{"X-Amz-Algorithm", kAlgorithm},
                    {"X-Amz-Credential", credentials.access_key + "/" + scope_of(to_sign)},
                    {"X-Amz-Date", utc(to_sign.time, "%Y%m%dT%H%M%SZ")},
                    {"X-Amz-Expires", std::to_string(std::min<uint64_t>(seconds, 604800))},
                    {"X-Amz-SignedHeaders", "host"}});
  if (!credentials.session_token.empty())
    url.query.emplace_back("X-Amz-Security-Token", credentials.session_token);
  const std::map<std::string, std::string> headers = {{"host", to_sign.host}};
  const std::string mark = signature(url, url.query, headers, "host", credentials.secret_key);
  return encoded_query(url.query) + "&X-Amz-Signature=" + mark;
}

}  // namespace hyper::object
