// SPDX-License-Identifier: Apache-2.0
#include "engine/state.hpp"

#include <algorithm>
#include <array>

namespace hyper::disk {
namespace {
constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

std::string to_base64(const std::vector<uint8_t>& bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t here = std::min<std::size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (std::size_t n = 0; n < 3; ++n) group = group << 8 | (n < here ? bytes[i + n] : 0u);
    for (std::size_t n = 0; n < 4; ++n)
      out += n <= here ? kDigits[group >> (18 - 6 * n) & 63] : '=';
  }
  return out;
}

bool from_base64(std::string_view text, std::vector<uint8_t>& bytes) {
  static const std::array<int8_t, 256> values = [] {
    std::array<int8_t, 256> out{};
    out.fill(-1);
    for (std::size_t i = 0; i < kDigits.size(); ++i)
      out[static_cast<uint8_t>(kDigits[i])] = static_cast<int8_t>(i);
    return out;
  }();
  bytes.clear();
  if (text.size() % 4 != 0) return false;
  for (std::size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    std::size_t digits = 4;
    for (std::size_t n = 0; n < 4; ++n) {
      const char c = text[i + n];
      if (c == '=' && i + 4 == text.size() && n >= 2) {
        digits = std::min(digits, n);
        group <<= 6;
        continue;
      }
      const int8_t value = values[static_cast<uint8_t>(c)];
      if (value < 0 || digits != 4) return false;
      group = group << 6 | static_cast<uint32_t>(value);
    }
    for (std::size_t n = 0; n + 1 < digits; ++n)
      bytes.push_back(static_cast<uint8_t>(group >> (16 - 8 * n)));
  }
  return true;
}

}  // namespace hyper::disk
