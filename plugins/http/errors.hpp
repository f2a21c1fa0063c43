// SPDX-License-Identifier: Apache-2.0
// Failures of HTTP as hyper::Error: status, whether to try again and when, without secrets.
#ifndef HYPERHOST_PLUGINS_HTTP_ERRORS_HPP
#define HYPERHOST_PLUGINS_HTTP_ERRORS_HPP

#include <hyper/error.hpp>
#include <string>

#include "headers.hpp"

namespace hyper::http {

/// native_code() of a transfer that stands still. A download may be waited for on.
constexpr int64_t kStalled = 110;

/// scheme://host[:port]/path: no user info, no query, no fragment.
std::string shown_url(const std::string& url);

/// An answer that is no success. what: "cannot read the object 'x'". Retryable: 408 429 500 502
/// 503 504, with Retry-After. 401 and 403 are HYPER_AUTH, 404 and 410 HYPER_NOTFOUND, 507
/// HYPER_NOSPACE, 409 and 412 HYPER_EXISTS, 429 and 503 HYPER_BUSY.
Error status_error(const std::string& what, long status, const Headers& headers,
                   const std::string& detail = {});

/// A transfer that libcurl ended with `code` (a CURLcode). text: its own words, may be "".
Error transfer_error(const std::string& url, int code, const std::string& text);

}  // namespace hyper::http

#endif
