// SPDX-License-Identifier: Apache-2.0
// Header fields in the order received; names are compared without regard to case.
#ifndef HYPERHOST_PLUGINS_HTTP_HEADERS_HPP
#define HYPERHOST_PLUGINS_HTTP_HEADERS_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hyper::http {

class Headers {
 public:
  void add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }
  void clear() { fields_.clear(); }
  const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }

  /// The first field of that name, or nullptr.
  const std::string* find(std::string_view name) const;
  std::string get(std::string_view name) const {
    const std::string* value = find(name);
    return value == nullptr ? std::string() : *value;
  }
  std::vector<std::string> all(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct ContentRange {
  uint64_t first = 0, last = 0;   ///< inclusive
  std::optional<uint64_t> total;  ///< absent for "*"
};

/// "bytes 0-99/1234"; nothing where it is anything else.
std::optional<ContentRange> parse_content_range(std::string_view text);

/// Retry-After (seconds or a date) in nanoseconds from now, at most a day; 0 where there is none.
uint64_t retry_after_ns(const Headers& headers);

}  // namespace hyper::http

#endif
