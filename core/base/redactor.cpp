// SPDX-License-Identifier: Apache-2.0
#include "core/base/redactor.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace hyperhost {
namespace {

constexpr size_t kMinimumLineBytes = 12;  // shorter lines of a PEM file tell nothing

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "-._~";
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alphanumeric || kPlain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 15];
    }
  }
  return encoded;
}

}  // namespace

bool Redactor::add(std::string_view secret) {
  if (secret.size() < kMinimumBytes) return false;
  const std::unique_lock lock(mutex_);
  insert(std::string(secret));
  insert(percent_encoded(secret));
  const nlohmann::json json = std::string(secret);
  const std::string quoted = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  insert(quoted.substr(1, quoted.size() - 2));
  for (size_t begin = 0; secret.find('\n') != std::string_view::npos && begin < secret.size();) {
    const size_t end = std::min(secret.find('\n', begin), secret.size());
    if (end - begin >= kMinimumLineBytes) insert(std::string(secret.substr(begin, end - begin)));
    begin = end + 1;
  }
  return true;
}

void Redactor::insert(std::string text) {
  if (text.size() >= kMinimumBytes) secrets_.insert(std::move(text));
}

std::string Redactor::redact(std::string_view text) const {
  std::vector<std::pair<size_t, size_t>> found;  // [begin, end)
  {
    const std::shared_lock lock(mutex_);
    for (const std::string& secret : secrets_) {
      for (size_t at = text.find(secret); at != std::string_view::npos;
           at = text.find(secret, at + 1)) {
        found.emplace_back(at, at + secret.size());
      }
    }
  }
  std::sort(found.begin(), found.end());
  std::string clean;
  size_t done = 0;
  for (size_t i = 0; i < found.size();) {
    const size_t begin = found[i].first;
    size_t end = found[i].second;
    while (++i < found.size() && found[i].first < end) end = std::max(end, found[i].second);
    clean.append(text.substr(done, begin - done)).append("[redacted]");
    done = end;
  }
  return clean.append(text.substr(done));
}

Redactor& Redactor::global() {
  static Redactor redactor;
  return redactor;
}

}  // namespace hyperhost
