// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_error.hpp"

#include <algorithm>
#include <initializer_list>

#include "plugins/http/errors.hpp"
#include "plugins/storage/s3/s3_xml.hpp"

namespace hyper::s3 {

Failure failure_of(const std::string& what, const http::Response& answer,
                   const std::string& signed_for) {
  const S3Error said = parse_error(answer.body);
  std::string detail = said.code;
  if (!said.message.empty()) detail += (detail.empty() ? "" : ": ") + said.message.substr(0, 500);
  Error error = http::status_error(what, answer.status, answer.headers, detail);
  const std::string& code = said.code;
  const auto is = [&](std::initializer_list<const char*> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  // The body changed or broke off on its way, the server is busy with this key, or the body of an
  // answer of 200 is an error.
  if (is({"RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody",
          "ConditionalRequestConflict", "OperationAborted", "InternalError", "SlowDown",
          "ServiceUnavailable"}) ||
      (answer.status == 409 && code.empty()))
    return {Error(HYPER_BUSY, what, detail)
                .native(answer.status)
                .retryable(http::retry_after_ns(answer.headers))};
  if (is({"ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"}))
    return {Error(HYPER_AUTH, what, detail).native(answer.status).retryable(), true};
  if (is({"NoSuchUpload"})) return {Error(HYPER_NOTFOUND, what, detail).native(answer.status)};
  const std::string region =
      !said.region.empty() ? said.region : answer.headers.get("x-amz-bucket-region");
  if ((answer.status == 301 || answer.status == 307 || code == "AuthorizationHeaderMalformed") &&
      !region.empty() && region != signed_for)
    return {Error(HYPER_CONFIG, what, "the bucket is in the region " + region)
                .hint("set region: " + region)
                .at("/region")
                .native(answer.status)};
  if (answer.status >= 300 && answer.status < 400)
    return {Error(HYPER_CONFIG, what,
                  "the server redirects to " + http::shown_url(answer.headers.get("Location")))
                .hint("check endpoint, region and path_style")
                .at("/endpoint")
                .native(answer.status)};
  if (is({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}))
    return {Error(HYPER_NOSPACE, what, detail).native(answer.status)};
  if (is({"InvalidAccessKeyId", "SignatureDoesNotMatch"}))
    error.hint("check the access key and its secret").at("/access_key_id");
  if (is({"RequestTimeTooSkewed"})) error.hint("set this machine's clock");
  if (is({"NoSuchBucket"})) error.hint("make the bucket first").at("/bucket");
  return {error};
}

}  // namespace hyper::s3
