// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <curl/curl.h>

namespace hyper::http {
namespace {

hyper_st status_of(long http_status) {
  switch (http_status) {
    case 401:
    case 403:
    case 407:
      return HYPER_AUTH;
    case 404:
    case 410:
      return HYPER_NOTFOUND;
    case 409:
    case 412:
      return HYPER_EXISTS;
    case 429:
    case 503:
      return HYPER_BUSY;
    case 501:
    case 505:
      return HYPER_UNSUPPORTED;
    case 507:
      return HYPER_NOSPACE;
    default:
      return http_status >= 500 || http_status == 408 ? HYPER_IO : HYPER_FAIL;
  }
}

bool worth_another_try(long http_status) {
  return http_status == 408 || http_status == 429 || http_status == 500 ||
         (http_status >= 502 && http_status <= 504);
}

}  // namespace

std::string shown_url(const std::string& url) {
  std::string out = url.substr(0, url.find_first_of("?#"));
  const std::size_t host = out.find("://");
  if (host == std::string::npos) return out;
  const std::size_t path = out.find('/', host + 3);
  const std::size_t user = out.rfind('@', path);
  if (user != std::string::npos && user > host) out.erase(host + 3, user - host - 2);
  return out;
}

Error status_error(const std::string& what, long status, const Headers& headers,
                   const std::string& detail) {
  Error error(status_of(status), what,
              "the server answered HTTP " + std::to_string(status) +
                  (detail.empty() ? std::string() : " (" + detail + ")"));
  error.native(status);
  if (worth_another_try(status)) error.retryable(retry_after_ns(headers));
  return error;
}

Error transfer_error(const std::string& url, int code, const std::string& text) {
  const auto curl_code = static_cast<CURLcode>(code);
  const std::string why = text.empty() ? curl_easy_strerror(curl_code) : text;
  const std::string place = shown_url(url);
  switch (curl_code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Error(HYPER_IO, "cannot find the host of " + place, why).retryable();
    case CURLE_COULDNT_CONNECT:
      return Error(HYPER_IO, "cannot connect to " + place, why).retryable();
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
      return Error(HYPER_AUTH, "the certificate of " + place + " is not trusted", why);
    case CURLE_SSL_CACERT_BADFILE:
      return Error(HYPER_CONFIG, "cannot read the CA file for " + place, why);
    case CURLE_UNSUPPORTED_PROTOCOL:
      if (why.find("HTTP/0.9") != std::string::npos)  // so libcurl calls any bytes without a header
        return Error(HYPER_IO, "the answer of " + place + " is not HTTP", why)
            .hint("check the scheme and the port")
            .retryable();
      [[fallthrough]];
    case CURLE_URL_MALFORMAT:
      return Error(HYPER_CONFIG, "this is no http or https URL: " + place, why);
    case CURLE_OUT_OF_MEMORY:
      return Error(HYPER_FAIL, "out of memory");
    case CURLE_OPERATION_TIMEDOUT:
      return Error(HYPER_IO, "no connection to " + place + " in time", why).retryable();
    default:
      return Error(HYPER_IO, "the transfer with " + place + " broke off", why)
          .native(code)
          .retryable();
  }
}

}  // namespace hyper::http
