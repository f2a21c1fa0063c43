// SPDX-License-Identifier: Apache-2.0
// The numbers of OVF: integers, and DSP0004's programmatic units ("byte * 2^30") with the words
// that older exporters write instead ("MegaBytes"). Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hyper::ovf {

/// A whole decimal number, nothing else; nullopt also where it does not fit.
std::optional<uint64_t> parse_number(const std::string& text);

/// Bytes of one unit; nullopt if it is no unit of bytes. Words are powers of 1024, as their
/// writers mean them.
std::optional<uint64_t> parse_byte_unit(const std::string& text);

std::string trimmed(const std::string& text);
std::string in_quotes(const std::string& text);

}  // namespace hyper::ovf
