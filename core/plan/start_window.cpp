// SPDX-License-Identifier: Apache-2.0
#include "core/plan/start_window.hpp"

#include <ctime>

#include "core/base/timestamp.hpp"

namespace hyperhost {
namespace {

using std::chrono::minutes;

std::optional<minutes> time_of_day(const std::string& text) {
  const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4))
    return std::nullopt;
  const int hour = (text[0] - '0') * 10 + text[1] - '0',
            minute = (text[3] - '0') * 10 + text[4] - '0';
  if (hour > 23 || minute > 59) return std::nullopt;
  return minutes(hour * 60 + minute);
}

std::tm local(StartWindow::Time now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  return parts;
}

}  // namespace

std::optional<StartWindow> StartWindow::parse(const std::string& not_before,
                                              const std::string& not_after, std::string& why) {
  StartWindow out;
  const auto read = [&](const std::string& text, std::optional<Time>& instant,
                        std::optional<minutes>& daily) {
    if (text.empty()) return true;
    daily = time_of_day(text);
    if (!daily) instant = parse_timestamp(text);
    if (!daily && !instant)
      why = "'" + text + "' is no time: write 22:00 or 2026-12-24T22:00:00+01:00";
    return daily || instant;
  };
  if (!read(not_before, out.from_, out.daily_from_) ||
      !read(not_after, out.until_, out.daily_until_))
    return std::nullopt;
  if (out.daily_from_.has_value() != out.daily_until_.has_value()) {
    why = "a time of day needs the other one too: not_before and not_after as HH:MM";
    return std::nullopt;
  }
  if (out.daily_from_ && out.daily_from_ == out.daily_until_) {
    why = "not_before and not_after are the same";
    return std::nullopt;
  }
  if (out.from_ && out.until_ && *out.until_ <= *out.from_) {
    why = "not_after is not later than not_before";
    return std::nullopt;
  }
  return out;
}

bool StartWindow::open(Time now) const {
  if (from_ && now < *from_) return false;
  if (until_ && now >= *until_) return false;
  if (!daily_from_) return true;
  const std::tm parts = local(now);
  const minutes at(parts.tm_hour * 60 + parts.tm_min);
  return *daily_from_ < *daily_until_ ? at >= *daily_from_ && at < *daily_until_
                                      : at >= *daily_from_ || at < *daily_until_;
}

bool StartWindow::over(Time now) const {
  return until_ && now >= *until_;
}

std::optional<StartWindow::Time> StartWindow::opens(Time now) const {
  if (over(now) || open(now)) return std::nullopt;
  if (!daily_from_) return from_;
  std::tm parts = local(now);
  const minutes at(parts.tm_hour * 60 + parts.tm_min);
  if (at >= *daily_from_) ++parts.tm_mday;  // mktime knows how long a month is
  parts.tm_hour = static_cast<int>(daily_from_->count() / 60);
  parts.tm_min = static_cast<int>(daily_from_->count() % 60);
  parts.tm_sec = 0;
  parts.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&parts));
}

}  // namespace hyperhost
