// SPDX-License-Identifier: Apache-2.0
#include "core/base/near_miss.hpp"

#include <algorithm>

namespace hyperhost {
namespace {

constexpr size_t kLongestWord = 64;  // the cost is quadratic in it
constexpr size_t kLongestList = 160;

std::string folded(std::string_view word) {
  std::string text(word);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return text;
}

/// Optimal string alignment distance.
size_t edits(const std::string& a, const std::string& b) {
  std::vector<size_t> older(b.size() + 1), old(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) old[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({old[j] + 1, row[j - 1] + 1, old[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], older[j - 2] + 1);
      }
    }
    older.swap(old);
    old.swap(row);
  }
  return old[b.size()];
}

}  // namespace

std::string suggest(std::string_view word, const std::vector<std::string>& known) {
  const std::string* nearest = nullptr;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  if (word.size() <= kLongestWord) {
    const std::string wanted = folded(word);
    for (const std::string& candidate : known) {
      if (candidate.size() > kLongestWord) continue;
      const size_t distance = edits(wanted, folded(candidate));
      if (distance < least) {
        least = distance;
        nearest = &candidate;
      }
    }
  }
  if (nearest != nullptr) return "did you mean '" + *nearest + "'?";
  std::string list;
  for (const std::string& candidate : known) {
    list += (list.empty() ? "known: " : ", ") + candidate;
    if (list.size() > kLongestList) return {};
  }
  return list;
}

}  // namespace hyperhost
