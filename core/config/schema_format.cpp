// SPDX-License-Identifier: Apache-2.0
#include "core/config/schema_format.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace hyperhost {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool hex(char c) {
  return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// Reads digits and literals from the left of a text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  bool empty() const { return rest_.empty(); }
  /// Exactly `count` digits, a number within [least, most]; -1 where they are not there.
  int number(size_t count, int least, int most) {
    if (rest_.size() < count || !std::all_of(rest_.begin(), rest_.begin() + count, digit))
      return -1;
    int value = 0;
    for (size_t i = 0; i < count; ++i) value = value * 10 + (rest_[i] - '0');
    rest_.remove_prefix(count);
    return value >= least && value <= most ? value : -1;
  }
  bool one_of(std::string_view characters) {
    if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool digits() {
    const size_t before = rest_.size();
    while (!rest_.empty() && digit(rest_.front())) rest_.remove_prefix(1);
    return rest_.size() != before;
  }

 private:
  std::string_view rest_;
};

bool scan_date(Scanner& text) {
  const int year = text.number(4, 0, 9999);
  if (year < 0 || !text.one_of("-")) return false;
  const int month = text.number(2, 1, 12);
  if (month < 0 || !text.one_of("-")) return false;
  constexpr std::array kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  const int days = kDays[static_cast<size_t>(month) - 1] + (month == 2 && leap ? 1 : 0);
  return text.number(2, 1, days) > 0;
}

bool scan_time(Scanner& text) {
  if (text.number(2, 0, 23) < 0 || !text.one_of(":")) return false;
  if (text.number(2, 0, 59) < 0 || !text.one_of(":")) return false;
  if (text.number(2, 0, 60) < 0) return false;  // 60: a leap second
  if (text.one_of(".") && !text.digits()) return false;
  if (text.one_of("Zz")) return true;
  return text.one_of("+-") && text.number(2, 0, 23) >= 0 && text.one_of(":") &&
         text.number(2, 0, 59) >= 0;
}

bool is_date(const std::string& text) {
  Scanner scanner(text);
  return scan_date(scanner) && scanner.empty();
}
bool is_time(const std::string& text) {
  Scanner scanner(text);
  return scan_time(scanner) && scanner.empty();
}
bool is_date_time(const std::string& text) {
  Scanner scanner(text);
  return scan_date(scanner) && scanner.one_of("Tt") && scan_time(scanner) && scanner.empty();
}

bool is_address(int family, const std::string& text) {
  unsigned char out[sizeof(in6_addr)];
  return text.find('\0') == std::string::npos && ::inet_pton(family, text.c_str(), out) == 1;
}
bool is_ipv4(const std::string& text) {
  return is_address(AF_INET, text);
}
bool is_ipv6(const std::string& text) {
  return is_address(AF_INET6, text);
}

bool is_hostname(const std::string& text) {
  if (text.empty() || text.size() > 253) return false;
  size_t begin = 0;
  while (true) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string_view label(text.data() + begin, end - begin);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-')
      return false;
    if (!std::all_of(label.begin(), label.end(),
                     [](char c) { return digit(c) || letter(c) || c == '-'; }))
      return false;
    if (end == text.size()) return true;
    begin = end + 1;
  }
}

/// RFC 3986: a scheme, then only characters that may stand in a URI, with whole escapes.
bool is_uri(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || !letter(text.front())) return false;
  if (!std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon), [](char c) {
        return digit(c) || letter(c) || c == '+' || c == '-' || c == '.';
      }))
    return false;
  bool fragment = false;
  for (size_t i = colon + 1; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || !hex(text[i + 1]) || !hex(text[i + 2])) return false;
    } else if (c == '#') {
      if (std::exchange(fragment, true)) return false;
    } else if (!digit(c) && !letter(c) &&
               std::string_view("-._~:/?[]@!$&'()*+,;=").find(c) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

bool is_uuid(const std::string& text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !hex(text[i])) return false;
  }
  return true;
}

bool is_json_pointer(const std::string& text) {
  if (!text.empty() && text.front() != '/') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '~' && (i + 1 == text.size() || (text[i + 1] != '0' && text[i + 1] != '1')))
      return false;
  }
  return true;
}

struct Format {
  const char* name;
  const char* title;
  bool (*fits)(const std::string&);
};

constexpr std::array kFormats = {
    Format{"date-time", "a date and time, e.g. 2026-11-24T00:18:43Z", is_date_time},
    Format{"date", "a date, e.g. 2026-11-24", is_date},
    Format{"time", "a time with its zone, e.g. 00:18:43Z", is_time},
    Format{"ipv4", "an IPv4 address", is_ipv4},
    Format{"ipv6", "an IPv6 address", is_ipv6},
    Format{"hostname", "a host's name", is_hostname},
    Format{"uri", "an absolute URL", is_uri},
    Format{"uuid", "a UUID", is_uuid},
    Format{"json-pointer", "a JSON Pointer, e.g. /disks/0", is_json_pointer},
};

const Format* find(const std::string& name) {
  for (const Format& format : kFormats) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

}  // namespace

bool format_is_known(const std::string& format) {
  return find(format) != nullptr;
}
bool format_fits(const std::string& format, const std::string& text) {
  return find(format)->fits(text);
}
std::string format_title(const std::string& format) {
  return find(format)->title;
}
std::string known_formats() {
  std::string names;
  for (const Format& format : kFormats)
    names += (names.empty() ? "" : " ") + std::string(format.name);
  return names;
}

}  // namespace hyperhost
