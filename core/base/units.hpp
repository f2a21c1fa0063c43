// SPDX-License-Identifier: Apache-2.0
// "5s" and "64KiB" → nanoseconds and bytes, with overflow refused, and back to what people read.
// Stateless: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hyperhost {

/// "200ms", "5s", "1h30m", "2 h"; units ns us ms s m h d, whole numbers. Nothing where it is not
/// such a text or exceeds 292 years.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

/// Bytes of "4096", "64KiB", "512 MB": KiB … EiB are powers of 1024, KB … EB of 1000, and a bare
/// K … E is of 1024, as qemu-img and coreutils read it. Nothing where it is not such a text or
/// exceeds 2^63 - 1.
std::optional<uint64_t> parse_size(std::string_view text);

/// Three digits, the same wherever a size is shown: "512 B", "1.22 GiB", "12.2 GiB", "122 GiB".
std::string bytes_text(uint64_t bytes);

}  // namespace hyperhost
