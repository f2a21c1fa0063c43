// SPDX-License-Identifier: Apache-2.0
// Base64 as QEMU's monitor writes it. Stateless.
#ifndef HYPERHOST_QEMU_BOOT_BASE64_HPP
#define HYPERHOST_QEMU_BOOT_BASE64_HPP

#include <cstdint>
#include <string>
#include <string_view>

namespace hyperhost::qemu_boot {

/// The bytes; what is no base64 digit is skipped.
inline std::string from_base64(std::string_view text) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (digit < 0) continue;
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 0xff);
  }
  return out;
}

}  // namespace hyperhost::qemu_boot

#endif
