// SPDX-License-Identifier: Apache-2.0
// When an object was changed last: S3 and Azure say it as an HTTP date in one call and as RFC 3339
// in another, the plugin ABI's `modified` is RFC 3339 always. Stateless.
#pragma once

#include <string>

namespace hyper::object {

/// "Tue, 24 Nov 2026 00:18:43 GMT" as "2026-11-24T00:18:43Z". RFC 3339 stays as it is; anything
/// else is "".
std::string modified_time(const std::string& text);

}  // namespace hyper::object
