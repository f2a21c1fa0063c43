// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/modified_time.hpp"

#include <array>
#include <regex>
#include <string_view>

namespace hyper::object {

std::string modified_time(const std::string& text) {
  if (text.size() > 64) return {};
  static const std::regex rfc3339(R"(^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$)");
  if (std::regex_match(text, rfc3339)) return text;
  static const std::regex http(
      R"(^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) GMT$)");
  std::smatch part;
  if (!std::regex_match(text, part, http)) return {};
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (std::size_t month = 0; month < kMonths.size(); ++month) {
    if (part[2].str() != kMonths[month]) continue;
    const std::string number = std::to_string(month + 1);
    return part[3].str() + "-" + (number.size() == 1 ? "0" : "") + number + "-" + part[1].str() +
           "T" + part[4].str() + "Z";
  }
  return {};
}

}  // namespace hyper::object
