// SPDX-License-Identifier: Apache-2.0
#include "core/base/timestamp.hpp"

#include <cstdint>
#include <cstdio>

namespace hyperhost {
namespace {

using std::chrono::nanoseconds;
using std::chrono::system_clock;

/// Reads exactly `width` digits off the front of `text`.
std::optional<int> take_number(std::string_view& text, size_t width) {
  if (text.size() < width) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < width; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// "Z" or "+hh:mm", as what to subtract to get UTC.
std::optional<std::chrono::minutes> take_offset(std::string_view& text) {
  if (take_char(text, "Zz")) return std::chrono::minutes{0};
  if (text.empty()) return std::nullopt;
  const char sign = text.front();
  if (!take_char(text, "+-")) return std::nullopt;
  const auto hours = take_number(text, 2);
  if (!hours || !take_char(text, ":")) return std::nullopt;
  const auto minutes = take_number(text, 2);
  if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const int total = *hours * 60 + *minutes;
  return std::chrono::minutes{sign == '-' ? -total : total};
}

}  // namespace

std::string format_timestamp(system_clock::time_point time, int digits) {
  const auto since_epoch = time.time_since_epoch();
  const auto whole = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const auto days = std::chrono::floor<std::chrono::days>(whole);
  const std::chrono::year_month_day date{std::chrono::sys_days{days}};
  const std::chrono::hh_mm_ss clock{whole - days};
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  std::string result = text;
  if (digits > 0) {
    const auto nanos = std::chrono::duration_cast<nanoseconds>(since_epoch - whole).count();
    std::snprintf(text, sizeof text, ".%09lld", static_cast<long long>(nanos));
    result.append(text, static_cast<size_t>(digits > 9 ? 9 : digits) + 1);
  }
  return result + "Z";
}

std::optional<system_clock::time_point> parse_timestamp(std::string_view text) {
  const auto year = take_number(text, 4);
  if (!year || !take_char(text, "-")) return std::nullopt;
  const auto month = take_number(text, 2);
  if (!month || !take_char(text, "-")) return std::nullopt;
  const auto day = take_number(text, 2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  // system_clock counts nanoseconds in 64 bits: outside these years it would overflow.
  if (!date.ok() || *year < 1700 || *year > 2200) return std::nullopt;
  nanoseconds time = std::chrono::sys_days{date}.time_since_epoch();
  if (text.empty()) return system_clock::time_point{time};

  if (!take_char(text, "Tt ")) return std::nullopt;
  const auto hours = take_number(text, 2);
  if (!hours || !take_char(text, ":")) return std::nullopt;
  const auto minutes = take_number(text, 2);
  if (!minutes || !take_char(text, ":")) return std::nullopt;
  const auto seconds = take_number(text, 2);
  if (!seconds || *hours > 23 || *minutes > 59 || *seconds > 60) return std::nullopt;
  time +=
      std::chrono::hours{*hours} + std::chrono::minutes{*minutes} + std::chrono::seconds{*seconds};
  if (take_char(text, ".")) {
    int64_t scale = 100'000'000;
    const size_t before = text.size();
    while (const auto digit = take_number(text, 1)) {
      time += nanoseconds{*digit * scale};
      scale /= 10;
    }
    if (text.size() == before) return std::nullopt;
  }
  const auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  return system_clock::time_point{time - *offset};
}

}  // namespace hyperhost
