// SPDX-License-Identifier: Apache-2.0
#include "core/base/pattern.hpp"

#include <algorithm>
#include <map>
#include <regex>
#include <vector>

namespace hyperhost {
namespace {

std::regex compile(const std::string& pattern) {
  // libstdc++'s usual matcher recurses once for each character and tries alternatives one after
  // the other; this one does neither, at the price of back-references.
  return std::regex(pattern, std::regex::ECMAScript | std::regex_constants::__polynomial);
}

/// Measures a pattern before libstdc++ sees it: its compiler recurses at each parenthesis and
/// writes a{1000} out a thousand times.
class Measure {
 public:
  explicit Measure(const std::string& pattern) : text_(pattern) {
    groups_.push_back({});
    for (at_ = 0; at_ < text_.size() && !too_large(); ++at_) step();
  }
  bool too_large() const { return groups_.size() > kMaxDepth || states_ > kMaxPatternStates; }
  /// All of its alternatives begin with ^: only the text's beginning can match.
  bool anchored() const { return text_.starts_with('^') && !top_alternatives_; }

 private:
  static constexpr size_t kMaxDepth = 32;
  struct Group {
    size_t states = 0;
    size_t last = 0;  // of the atom that a quantifier would repeat
  };

  void atom(size_t states) {
    groups_.back().states += states;
    groups_.back().last = states;
    states_ += states;
  }

  void step() {
    switch (text_[at_]) {
      case '\\':
        ++at_;
        return atom(1);
      case '[':
        for (++at_; at_ < text_.size() && text_[at_] != ']'; ++at_)
          if (text_[at_] == '\\') ++at_;
        return atom(1);
      case '(':
        groups_.push_back({});
        return;
      case ')':
        if (groups_.size() > 1) {
          const size_t inside = groups_.back().states;
          groups_.pop_back();
          states_ -= inside;
          atom(inside + 2);
        }
        return;
      case '|':
        top_alternatives_ |= groups_.size() == 1;
        return atom(1);
      case '{':
        return repeat();
      default:
        return atom(1);  // also for * + ?, which cost a state or two
    }
  }

  void repeat() {
    size_t most = 1, number = 0;
    for (++at_; at_ < text_.size() && text_[at_] != '}'; ++at_) {
      const char c = text_[at_];
      number = c >= '0' && c <= '9' ? std::min<size_t>(number * 10 + (c - '0'), 100'000) : 0;
      most = std::max(most, number);
    }
    Group& group = groups_.back();
    const size_t more = group.last * most;  // last is at most kMaxPatternStates
    group.states += more;
    states_ += more;
    group.last += more;
  }

  const std::string& text_;
  size_t at_ = 0;
  size_t states_ = 0;
  std::vector<Group> groups_;
  bool top_alternatives_ = false;
};

/// Found where the text begins: an expression that may also match later gets what skips the text
/// before it. (regex_search begins again at each character, which is quadratic.)
std::regex searcher(const std::string& pattern) {
  return compile(Measure(pattern).anchored() ? pattern : "[\\s\\S]*?(?:" + pattern + ")");
}

}  // namespace

std::string pattern_problem(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes || Measure(pattern).too_large())
    return "is too large: it may have " + std::to_string(kMaxPatternBytes) + " characters and " +
           std::to_string(kMaxPatternStates) + " states";
  if (pattern.find("(?=") != std::string::npos || pattern.find("(?!") != std::string::npos)
    return "has an assertion, (?= or (?!, which can take exponential time";
  try {
    compile(pattern);
    return {};
  } catch (const std::regex_error&) {
    return "is not a regular expression, or has back-references";
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
    found = compiled.emplace(pattern, searcher(pattern)).first;
  }
  return std::regex_search(text, found->second, std::regex_constants::match_continuous);
}

}  // namespace hyperhost
