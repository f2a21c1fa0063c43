// SPDX-License-Identifier: Apache-2.0
#include "units.hpp"

#include <array>
#include <charconv>
#include <utility>

#include "package.hpp"

namespace hyper::ovf {
namespace {

std::optional<uint64_t> word_unit(const std::string& word) {
  static constexpr std::array<std::array<const char*, 6>, 7> kWords = {{
      {"byte", "bytes", "b", "", "", ""},
      {"kilobyte", "kilobytes", "kb", "kib", "kibibyte", "kibibytes"},
      {"megabyte", "megabytes", "mb", "mib", "mebibyte", "mebibytes"},
      {"gigabyte", "gigabytes", "gb", "gib", "gibibyte", "gibibytes"},
      {"terabyte", "terabytes", "tb", "tib", "tebibyte", "tebibytes"},
      {"petabyte", "petabytes", "pb", "pib", "pebibyte", "pebibytes"},
      {"exabyte", "exabytes", "eb", "eib", "exbibyte", "exbibytes"},
  }};
  if (word.empty()) return std::nullopt;
  for (std::size_t power = 0; power < kWords.size(); ++power)
    for (const char* known : kWords[power])
      if (word == known) return uint64_t{1} << (10 * power);
  return std::nullopt;
}

/// "512" or "2^30".
std::optional<uint64_t> factor(const std::string& text) {
  const std::size_t hat = text.find('^');
  const auto base = parse_number(text.substr(0, hat));
  if (!base || hat == std::string::npos) return base;
  const auto exponent = parse_number(text.substr(hat + 1));
  if (!exponent || *exponent > 64) return std::nullopt;
  uint64_t value = 1;
  for (uint64_t i = 0; i < *exponent; ++i)
    if (__builtin_mul_overflow(value, *base, &value)) return std::nullopt;
  return value;
}

}  // namespace

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::optional<uint64_t> parse_number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> parse_byte_unit(const std::string& text) {
  std::string compact;
  for (const char c : lower(text))
    if (c != ' ' && c != '\t') compact += c;
  std::optional<uint64_t> unit;
  for (std::size_t begin = 0; begin <= compact.size();) {
    const std::size_t star = std::min(compact.find('*', begin), compact.size());
    const std::string part = compact.substr(begin, star - begin);
    const auto value = unit ? factor(part) : word_unit(part);
    uint64_t product = 0;
    if (!value || *value == 0 || __builtin_mul_overflow(unit.value_or(1), *value, &product))
      return std::nullopt;
    unit = product;
    begin = star + 1;
  }
  return unit;
}

std::string in_quotes(const std::string& text) {
  return "'" + text + "'";
}

}  // namespace hyper::ovf
