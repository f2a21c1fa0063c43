// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 4, for requests and for URLs. Own code rather than libcurl's: the one of
// Debian 12's libcurl (7.88) neither sorts nor encodes the query as S3 wants it, encodes the path
// twice, cannot sign a body that is read from a function, and signs no URLs. Pure functions.
#ifndef HYPERHOST_OBJECT_SIGV4_HPP
#define HYPERHOST_OBJECT_SIGV4_HPP

#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace hyper::object {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct AwsCredentials {
  std::string access_key, secret_key, session_token;
  std::time_t expires = 0;  ///< 0 = never
  std::string source;       ///< where they came from, for messages
  bool operator==(const AwsCredentials&) const = default;
};

struct ToSign {
  std::string method, host;
  std::string path;            ///< encoded, as sent
  Fields query;                ///< not encoded
  Fields headers;              ///< to be sent; host and x-amz-date are not among them
  std::string payload_sha256;  ///< hex, or "UNSIGNED-PAYLOAD"
  std::time_t time = 0;
  std::string region, service = "s3";
};

/// The fields to send beside to_sign.headers: Authorization, X-Amz-Date, X-Amz-Content-Sha256 (of
/// S3 only) and X-Amz-Security-Token.
Fields sign(const ToSign& to_sign, const AwsCredentials& credentials);

/// The query, encoded, of a URL that anybody may use for so many seconds (at most 604800). Only
/// the host is signed of the header.
std::string presigned_query(const ToSign& to_sign, const AwsCredentials& credentials,
                            uint64_t seconds);

/// Name=value pairs encoded and joined, in the order given.
std::string encoded_query(const Fields& query);

}  // namespace hyper::object

#endif
