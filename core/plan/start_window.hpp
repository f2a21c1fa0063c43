// SPDX-License-Identifier: Apache-2.0
// When a VM may begin: between two instants ("2026-12-24T22:00:00Z"), or every day between two
// times of day ("22:00", "05:30"; local time, midnight may lie in between). Plain value.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace hyperhost {

class StartWindow {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// Always open.
  StartWindow() = default;
  /// Either may be empty. Nothing where a text is neither form, a time of day stands alone or with
  /// an instant, or the end is not after the beginning; `why` says which.
  static std::optional<StartWindow> parse(const std::string& not_before,
                                          const std::string& not_after, std::string& why);

  bool open(Time now) const;
  /// It will never be open again.
  bool over(Time now) const;
  /// The next time it opens; nothing where it is open or over.
  std::optional<Time> opens(Time now) const;

 private:
  std::optional<Time> from_, until_;
  std::optional<std::chrono::minutes> daily_from_, daily_until_;
};

}  // namespace hyperhost
