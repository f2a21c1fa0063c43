// SPDX-License-Identifier: Apache-2.0
#include "core/base/file_name.hpp"

#include <cstdint>

#include "core/base/text.hpp"

namespace hyperhost {
namespace {

void append_escaped(std::string& name, char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  name += '%';
  name += kDigits[byte >> 4];
  name += kDigits[byte & 15];
}

std::string hash_of(std::string_view text) {  // FNV-1a, 64 bits: stable across builds
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  std::string digits;
  for (int shift = 60; shift >= 0; shift -= 4) digits += "0123456789abcdef"[(hash >> shift) & 15];
  return digits;
}

}  // namespace

std::string safe_file_name(std::string_view vm_name) {
  constexpr std::string_view kUnsafe = "/\\:*?\"<>|%$`'!&;";
  // Where the text is not UTF-8 its bytes are taken one by one.
  const bool utf8 = find_invalid_utf8(vm_name) == std::string_view::npos;
  std::string name;
  for (size_t i = 0; i < vm_name.size(); ++i) {
    const char c = vm_name[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool first = i == 0, last = i + 1 == vm_name.size();
    const bool control =
        byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8) ||
        // C1 controls are 0xc2 0x80 … 0xc2 0x9f.
        (byte == 0xc2 && !last && static_cast<unsigned char>(vm_name[i + 1]) < 0xa0) ||
        (byte >= 0x80 && byte < 0xa0 && !first &&
         static_cast<unsigned char>(vm_name[i - 1]) == 0xc2);
    const bool edge = (first && (c == '-' || c == '.' || c == ' ' || c == '~')) ||
                      (last && (c == '.' || c == ' '));
    if (control || edge || kUnsafe.find(c) != std::string_view::npos) {
      append_escaped(name, c);
    } else {
      name += c;
    }
  }
  if (name.empty()) return "%";
  if (name.size() <= kMaxFileNameBytes) return name;
  const std::string tail = "~" + hash_of(vm_name);
  size_t cut = kMaxFileNameBytes - tail.size();
  while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xc0) == 0x80) --cut;
  // Nor in the middle of %XX.
  for (size_t back = 1; back <= 2 && back <= cut; ++back) {
    if (name[cut - back] == '%') {
      cut -= back;
      break;
    }
  }
  return name.substr(0, cut) + tail;
}

}  // namespace hyperhost
