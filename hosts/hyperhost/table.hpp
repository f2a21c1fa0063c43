// SPDX-License-Identifier: Apache-2.0
// Columns of text for people, and numbers as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace hyperhost {

class Table {
 public:
  /// A '>' in front of a heading aligns its column to the right.
  explicit Table(const std::vector<std::string>& headings);
  void row(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> right_;
};

std::string human_bytes(uint64_t bytes);                        ///< "1.23 GiB"
std::string human_duration(std::chrono::nanoseconds duration);  ///< "1.2 s", "3 m 05 s"
/// "512 MiB/s"; "-" where nothing was measured.
std::string human_rate(uint64_t bytes, std::chrono::nanoseconds duration);

}  // namespace hyperhost
