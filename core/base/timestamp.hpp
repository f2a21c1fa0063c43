// SPDX-License-Identifier: Apache-2.0
// RFC 3339 times in UTC, as progress, audit log and webhooks write and read them. Thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace hyperhost {

/// "2026-01-02T03:04:05.678Z"; `digits` of the second's fraction (0…9).
std::string format_timestamp(std::chrono::system_clock::time_point time, int digits = 3);

/// Any RFC 3339 date-time, or a bare date ("2026-01-02" = its first instant in UTC).
/// Nothing when `text` is neither.
std::optional<std::chrono::system_clock::time_point> parse_timestamp(std::string_view text);

}  // namespace hyperhost
