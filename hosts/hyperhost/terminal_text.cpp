// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/terminal_text.hpp"

#include <locale.h>
#include <unistd.h>
#include <wchar.h>

#include <cstdlib>

namespace hyperhost {
namespace {

struct Character {
  char32_t value = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

/// The character at the front of `text` (not empty); of invalid UTF-8 one byte is taken.
Character decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || text.size() < length) return {};
  char32_t value = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[length] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return {};
  return {value, length, true};
}

/// wcwidth() answers by the thread's locale, which a library has no business to change for good.
class Utf8Locale {
 public:
  Utf8Locale() : before_(::uselocale(locale())) {}
  ~Utf8Locale() { ::uselocale(before_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  static locale_t locale() {
    static const locale_t made = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
    return made;
  }
  locale_t before_;
};

std::size_t columns(const Character& character) {
  const int width = ::wcwidth(static_cast<wchar_t>(character.value));
  return width < 0 ? 1 : static_cast<std::size_t>(width);
}

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

}  // namespace

std::string printable(std::string_view text, bool keep_newlines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character one = decode(text);
    const bool control = one.value < 0x20 || (one.value >= 0x7F && one.value < 0xA0) ||
                         (one.value >= 0x202A && one.value <= 0x202E) ||
                         (one.value >= 0x2066 && one.value <= 0x2069);
    if (one.valid && one.value == '\n' && keep_newlines)
      out += '\n';
    else if (one.valid && one.value == '\t')
      out += ' ';
    else if (!one.valid || control)
      out += '?';
    else
      out += text.substr(0, one.bytes);
    text.remove_prefix(one.bytes);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  const Utf8Locale locale;
  std::size_t width = 0;
  while (!text.empty()) {
    const Character one = decode(text);
    width += columns(one);
    text.remove_prefix(one.bytes);
  }
  return width;
}

std::string fitted(std::string_view text, std::size_t width) {
  const std::size_t wanted = display_width(text);
  if (wanted <= width) return std::string(text) + std::string(width - wanted, ' ');
  if (width == 0) return {};
  const Utf8Locale locale;
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const Character one = decode(text);
    if (used + columns(one) > width - 1) break;
    used += columns(one);
    out += text.substr(0, one.bytes);
    text.remove_prefix(one.bytes);
  }
  return out + "~" + std::string(width - 1 - used, ' ');
}

std::string right_aligned(const std::string& text, std::size_t width) {
  const std::size_t wanted = display_width(text);
  return wanted >= width ? text : std::string(width - wanted, ' ') + text;
}

bool wants_colour(int fd) {
  const char* terminal = std::getenv("TERM");
  return !is_set("NO_COLOR") && ::isatty(fd) == 1 && terminal != nullptr && *terminal != '\0' &&
         std::string_view(terminal) != "dumb";
}

bool shows_unicode() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (!is_set(name)) continue;
    const std::string_view value = std::getenv(name);
    for (const char* encoding : {"UTF-8", "utf-8", "UTF8", "utf8"})
      if (value.find(encoding) != std::string_view::npos) return true;
    return false;
  }
  return false;
}

}  // namespace hyperhost
