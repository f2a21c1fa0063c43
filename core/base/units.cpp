// SPDX-License-Identifier: Apache-2.0
#include "core/base/units.hpp"

#include <charconv>
#include <cstdio>
#include <limits>

namespace hyperhost {
namespace {

/// Takes the digits at the front of `text`.
std::optional<uint64_t> take_number(std::string_view& text) {
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  return number;
}

void take_space(std::string_view& text) {
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
}

int64_t nanoseconds_of(std::string_view unit) {
  if (unit == "ns") return 1;
  if (unit == "us") return 1'000;
  if (unit == "ms") return 1'000'000;
  if (unit == "s") return 1'000'000'000;
  if (unit == "m") return 60'000'000'000;
  if (unit == "h") return 3'600'000'000'000;
  if (unit == "d") return 86'400'000'000'000;
  return 0;
}

uint64_t bytes_of(std::string_view unit) {
  if (unit.empty() || unit == "B") return 1;
  const size_t power = std::string_view("KMGTPE").find(unit.front());
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = unit.substr(1);
  if (!rest.empty() && rest != "i" && rest != "iB" && rest != "B") return 0;
  const uint64_t base = rest == "B" ? 1000 : 1024;
  uint64_t factor = base;
  for (size_t i = 0; i < power; ++i) factor *= base;
  return factor;
}

}  // namespace

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  int64_t total = 0;
  while (!text.empty()) {
    const auto number = take_number(text);
    take_space(text);
    size_t length = 0;
    while (length < text.size() && text[length] >= 'a' && text[length] <= 'z') ++length;
    const int64_t unit = nanoseconds_of(text.substr(0, length));
    text.remove_prefix(length);
    take_space(text);
    int64_t part = 0;
    if (!number || unit == 0 || *number > static_cast<uint64_t>(INT64_MAX) ||
        __builtin_mul_overflow(static_cast<int64_t>(*number), unit, &part) ||
        __builtin_add_overflow(total, part, &total)) {
      return std::nullopt;
    }
  }
  return std::chrono::nanoseconds(total);
}

std::optional<uint64_t> parse_size(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  if (text.size() > 1) take_space(text);
  const uint64_t unit = bytes_of(text);
  uint64_t bytes = 0;
  if (unit == 0 || __builtin_mul_overflow(*number, unit, &bytes) ||
      bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  return bytes;
}

std::string bytes_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.5 && unit < 6; ++unit) value /= 1024;
  char text[32];
  const char* form = unit == 0 || value >= 99.95 ? "%.0f %s"
                     : value >= 9.995            ? "%.1f %s"
                                                 : "%.2f %s";
  std::snprintf(text, sizeof text, form, value, kUnits[unit]);
  return text;
}

}  // namespace hyperhost
