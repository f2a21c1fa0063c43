// SPDX-License-Identifier: Apache-2.0
#include "headers.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <ctime>

namespace hyper::http {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// Takes a whole number off the front of text.
std::optional<uint64_t> take_number(std::string_view& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

const std::string* Headers::find(std::string_view name) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(),
                                  [&](const auto& field) { return same_name(field.first, name); });
  return found == fields_.end() ? nullptr : &found->second;
}

std::vector<std::string> Headers::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [field, value] : fields_)
    if (same_name(field, name)) out.push_back(value);
  return out;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (text.size() < 6 || !same_name(text.substr(0, 6), "bytes ")) return std::nullopt;
  text.remove_prefix(6);
  ContentRange out;
  const auto first = take_number(text);
  if (!first || !take(text, '-')) return std::nullopt;
  const auto last = take_number(text);
  if (!last || *last < *first || !take(text, '/')) return std::nullopt;
  out.first = *first;
  out.last = *last;
  if (text == "*") return out;
  out.total = take_number(text);
  if (!out.total || !text.empty() || *out.total <= out.last) return std::nullopt;
  return out;
}

uint64_t retry_after_ns(const Headers& headers) {
  constexpr uint64_t kDay = 24 * 3600;
  const std::string* value = headers.find("Retry-After");
  if (value == nullptr) return 0;
  std::string_view text = *value;
  uint64_t seconds = 0;
  if (const auto number = take_number(text); number && text.empty()) {
    seconds = *number;
  } else {
    const std::time_t then = curl_getdate(value->c_str(), nullptr);
    const std::time_t now = std::time(nullptr);
    if (then > now) seconds = static_cast<uint64_t>(then - now);
  }
  return std::min(seconds, kDay) * 1'000'000'000u;
}

}  // namespace hyper::http
