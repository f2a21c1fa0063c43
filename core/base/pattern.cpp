// SPDX-License-Identifier: Apache-2.0
#include "core/base/pattern.hpp"

#include <map>
#include <regex>

namespace hyperhost {
namespace {

std::regex compile(const std::string& pattern) {
  // libstdc++'s usual matcher recurses once for each character and tries alternatives one after
  // the other; this one does neither, at the price of back-references.
  return std::regex(pattern, std::regex::ECMAScript | std::regex_constants::__polynomial);
}

}  // namespace

bool pattern_is_valid(const std::string& pattern) {
  try {
    compile(pattern);
    return true;
  } catch (const std::regex_error&) {
    return false;
  }
}

bool pattern_matches(const std::string& pattern, const std::string& text) {
  if (text.size() > kMaxMatchedBytes) return false;
  // Compiling costs more than matching, and a plan's VMs all ask the same few.
  constexpr size_t kMostKept = 64;
  thread_local std::map<std::string, std::regex> compiled;
  auto found = compiled.find(pattern);
  if (found == compiled.end()) {
    if (compiled.size() >= kMostKept) compiled.clear();
    found = compiled.emplace(pattern, compile(pattern)).first;
  }
  return std::regex_search(text, found->second);
}

}  // namespace hyperhost
