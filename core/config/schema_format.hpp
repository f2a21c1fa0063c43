// SPDX-License-Identifier: Apache-2.0
// The keyword `format` of schemas, for the forms below; each is checked, none is a mere remark.
// Any thread.
#pragma once

#include <string>

namespace hyperhost {

/// date-time, date, time, ipv4, ipv6, hostname, uri, uuid, json-pointer.
bool format_is_known(const std::string& format);

/// REQUIRES: format_is_known(format).
bool format_fits(const std::string& format, const std::string& text);

/// "a date and time, e.g. 2026-11-24T00:18:43Z", for messages.
std::string format_title(const std::string& format);

/// All names, separated by a blank.
std::string known_formats();

}  // namespace hyperhost
