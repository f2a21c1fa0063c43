// SPDX-License-Identifier: Apache-2.0
#include "core/config/read_yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "core/base/text.hpp"

namespace hyperhost {
namespace {

// Swallowed by an unclosed quoted string: yaml-cpp takes the end of the text for its end.
constexpr std::string_view kSentinel =
    "#\x7f"
    "end-of-text";

/// Ends the parse; caught in read_yaml.
struct Refused {
  Diagnostic diagnostic;
};

Diagnostic problem(const Mark& mark, std::string summary, std::string hint = {}) {
  Diagnostic diagnostic;
  diagnostic.code = Code::kConfig;
  diagnostic.where = mark.where();
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  return diagnostic;
}

/// A plain scalar's value by YAML 1.2's core schema, less what JSON cannot say (.inf, .nan) and
/// what readers disagree about (octal by a leading zero): those stay strings.
ConfigValue::Data resolve_plain(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* begin = text.data();
  const char* const end = begin + text.size();
  const bool negative = *begin == '-';
  if (*begin == '+' || negative) ++begin;
  if (begin == end || (!std::isdigit(static_cast<unsigned char>(*begin)) && *begin != '.')) {
    return text;
  }
  const std::string_view digits(begin, static_cast<size_t>(end - begin));
  const bool based =
      digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o');
  if (digits.size() > 1 && digits[0] == '0' && digits[1] != '.' && digits[1] != 'e' &&
      digits[1] != 'E' && !based) {
    return text;
  }
  int64_t integer = 0;
  if (based) {
    const char* from = begin + 2;
    if (begin != text.data() || *from == '-') return text;
    const auto [stop, error] = std::from_chars(from, end, integer, digits[1] == 'x' ? 16 : 8);
    return error == std::errc() && stop == end ? ConfigValue::Data(integer) : text;
  }
  {
    const auto [stop, error] = std::from_chars(negative ? begin - 1 : begin, end, integer);
    if (error == std::errc() && stop == end) return integer;
  }
  double number = 0;
  const auto [stop, error] = std::from_chars(negative ? begin - 1 : begin, end, number);
  if (error == std::errc() && stop == end && std::isfinite(number)) return number;
  return text;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const std::string> source, std::vector<Diagnostic>& problems)
      : source_(std::move(source)), problems_(problems) {}

  std::optional<ConfigValue> root;
  size_t documents = 0;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents > 1) {
      throw Refused{problem(here(mark), "a second YAML document begins here",
                            "put each plan into its own file")};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    // yaml-cpp marks an absent value where the next token is; what holds it says it better.
    if (stack_.empty()) return add(ConfigValue({}, here(mark)), anchor);
    const Frame& holder = stack_.back();
    add(ConfigValue({}, holder.has_key ? holder.key_mark : holder.value.mark()), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Refused{problem(here(mark), "an alias refers to a value that contains it")};
    }
    charge(found->second, here(mark));
    add(found->second, 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    const Mark at = here(mark);
    if (tag == "!" && text.find(kSentinel) != std::string::npos) {
      throw Refused{problem(at, "a quoted string begins here and never ends",
                            "close it with the same quote")};
    }
    if (!stack_.empty() && stack_.back().is_mapping && !stack_.back().has_key) {
      charge_one(text.size(), at);
      begin_member(text, tag == "?" && text == "<<", at);
      return;
    }
    const bool quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!quoted) check_tag(tag, at);
    charge_one(text.size(), at);
    add(ConfigValue(quoted ? ConfigValue::Data(text) : resolve_plain(text), at), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, ConfigValue::Sequence());
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, ConfigValue::Mapping());
    stack_.back().is_mapping = true;
  }
  void OnMapEnd() override {
    merge(stack_.back());
    close();
  }

 private:
  struct Frame {
    ConfigValue value;
    YAML::anchor_t anchor = 0;
    bool is_mapping = false, has_key = false, skip = false, merging = false;
    std::string key;
    Mark key_mark;
    std::unordered_map<std::string, Mark> keys;
    std::vector<ConfigValue> merged;  ///< values of <<
  };

  Mark here(const YAML::Mark& mark) const {
    return {source_, static_cast<uint32_t>(mark.line + 1), static_cast<uint32_t>(mark.column + 1)};
  }

  void charge_one(size_t bytes, const Mark& at) {
    bytes_ += bytes;
    if (++nodes_ > kMaxYamlNodes || bytes_ > 2 * kMaxYamlBytes) {
      throw Refused{problem(at, "the document has more than " + std::to_string(kMaxYamlNodes) +
                                    " values or grows too large by its aliases")};
    }
  }

  void charge(const ConfigValue& value, const Mark& at) {
    charge_one(value.string() != nullptr ? value.string()->size() : 0, at);
    if (const auto* sequence = value.sequence()) {
      for (const ConfigValue& item : *sequence) charge(item, at);
    }
    if (const auto* members = value.members()) {
      for (const auto& member : *members) {
        charge_one(member.key.size(), at);
        charge(member.value, at);
      }
    }
  }

  void check_tag(const std::string& tag, const Mark& at) {
    if (tag.empty() || tag == "?" || tag == "!" || tag.starts_with("tag:yaml.org,2002:")) return;
    problems_.push_back(
        problem(at, "the YAML tag '" + tag + "' means nothing here", "leave the tag out"));
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            ConfigValue::Data data) {
    const Mark at = here(mark);
    if (stack_.size() >= kMaxYamlDepth) {
      throw Refused{problem(at, "values are nested deeper than " + std::to_string(kMaxYamlDepth))};
    }
    if (!stack_.empty() && stack_.back().is_mapping && !stack_.back().has_key) {
      throw Refused{
          problem(at, "a key must be text, not a list or a mapping",
                  "close every bracket, and put a key that contains '{' or '[' into quotes")};
    }
    check_tag(tag, at);
    charge_one(0, at);
    Frame frame;
    frame.value = ConfigValue(std::move(data), at);
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    add(std::move(frame.value), frame.anchor);
  }

  void begin_member(const std::string& key, bool merging, const Mark& at) {
    Frame& frame = stack_.back();
    frame.key = key;
    frame.key_mark = at;
    frame.has_key = true;
    frame.merging = merging;
    frame.skip = false;
    const auto [first, fresh] = frame.keys.emplace(key, at);
    if (!fresh) {
      frame.skip = true;
      Diagnostic twice = problem(at, "the key '" + key + "' is written twice",
                                 "it is already at line " + std::to_string(first->second.line));
      twice.path = pointer();
      problems_.push_back(std::move(twice));
    }
  }

  /// Of the member that was begun last.
  std::string pointer() const {
    std::string path;
    for (const Frame& frame : stack_) {
      path = frame.is_mapping ? pointer_join(path, frame.key)
                              : pointer_join(path, frame.value.sequence()->size());
    }
    return path;
  }

  void add(ConfigValue value, YAML::anchor_t anchor) {
    if (anchor != 0) {
      charge(value, value.mark());
      anchors_.insert_or_assign(anchor, value);
    }
    if (stack_.empty()) {
      root = std::move(value);
      return;
    }
    Frame& frame = stack_.back();
    if (!frame.is_mapping) {
      frame.value.sequence()->push_back(std::move(value));
      return;
    }
    if (!frame.has_key) {  // an alias or nothing in the place of a key
      if (value.string() == nullptr) {
        throw Refused{problem(value.mark(), "a key must be text")};
      }
      begin_member(*value.string(), false, value.mark());
      return;
    }
    frame.has_key = false;
    if (frame.skip) return;
    if (frame.merging) {
      frame.merged.push_back(std::move(value));
    } else {
      frame.value.members()->push_back({std::move(frame.key), frame.key_mark, std::move(value)});
    }
  }

  /// Adds the members of <<, a mapping or a list of them, that the mapping itself has not.
  void merge(Frame& frame) {
    for (ConfigValue& source : frame.merged) {
      ConfigValue::Sequence one;
      ConfigValue::Sequence* sources = source.sequence();
      if (sources == nullptr) {
        one.push_back(std::move(source));
        sources = &one;
      }
      for (ConfigValue& from : *sources) {
        if (from.members() == nullptr) {
          problems_.push_back(
              problem(frame.key_mark, "'<<' wants a mapping or a list of mappings"));
          continue;
        }
        for (auto& member : *from.members()) {
          if (frame.keys.emplace(member.key, member.key_mark).second) {
            frame.value.members()->push_back(std::move(member));
          }
        }
      }
    }
  }

  std::shared_ptr<const std::string> source_;
  std::vector<Diagnostic>& problems_;
  std::vector<Frame> stack_;
  std::unordered_map<YAML::anchor_t, ConfigValue> anchors_;
  size_t nodes_ = 0, bytes_ = 0;
};

std::string_view line_at(std::string_view text, size_t number) {
  size_t begin = 0;
  for (size_t line = 1; line < number && begin != std::string_view::npos; ++line) {
    begin = text.find('\n', begin);
    if (begin != std::string_view::npos) ++begin;
  }
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find('\n', begin) - begin);
}

Diagnostic syntax_problem(std::string_view text, const std::shared_ptr<const std::string>& source,
                          const YAML::Exception& error) {
  Mark mark{source, 0, 0};
  std::string_view line;
  if (!error.mark.is_null()) {
    mark.line = static_cast<uint32_t>(error.mark.line + 1);
    mark.column = static_cast<uint32_t>(error.mark.column + 1);
    line = line_at(text, mark.line);
  }
  std::string hint = "check the indentation, quotes and brackets here and just above";
  if (line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos) {
    hint = "the line is indented with a tab: YAML wants spaces";
  }
  return problem(mark, "this is not valid YAML: " + error.msg, std::move(hint));
}

Mark mark_at(std::string_view text, size_t offset,
             const std::shared_ptr<const std::string>& source) {
  const std::string_view before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0
  return {source, static_cast<uint32_t>(std::count(before.begin(), before.end(), '\n') + 1),
          static_cast<uint32_t>(offset - line_start + 1)};
}

/// What must not reach the parser at all: it spends some 200 bytes for each token of a flow
/// collection before it reports the first of them.
std::optional<Diagnostic> refuse_text(std::string_view text,
                                      const std::shared_ptr<const std::string>& source) {
  const Mark whole{source, 0, 0};
  if (text.size() > kMaxYamlBytes) {
    return problem(whole, "the file has " + std::to_string(text.size()) + " bytes; at most " +
                              std::to_string(kMaxYamlBytes) + " are read");
  }
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    return problem(mark_at(text, bad, source), "the text is not valid UTF-8 here",
                   "save the file as UTF-8");
  }
  int64_t depth = 0;
  size_t indicators = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool control =
        static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
    if (control || c == 0x7f) {
      return problem(mark_at(text, i, source), "there is a control character in the text here",
                     "is this really a YAML file, saved as UTF-8?");
    }
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') depth = std::max<int64_t>(depth - 1, 0);
    if (c == '[' || c == '{' || c == ',') ++indicators;
    if (depth > 4096 || indicators > kMaxYamlNodes) {
      return problem(mark_at(text, i, source), "there are too many brackets or commas in the file");
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ConfigValue> read_yaml(std::string_view text, const std::string& source,
                                     std::vector<Diagnostic>& problems) {
  const auto name = std::make_shared<const std::string>(source);
  if (auto refusal = refuse_text(text, name)) {
    problems.push_back(std::move(*refusal));
    return std::nullopt;
  }
  TreeBuilder builder(name, problems);
  try {
    std::istringstream stream(std::string(text) + "\n" + std::string(kSentinel) + "\n");
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    problems.push_back(refused.diagnostic);
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    problems.push_back(syntax_problem(text, name, error));
    return std::nullopt;
  }
  if (!builder.root) {
    problems.push_back(
        problem({name, 0, 0}, "there is nothing in it but comments and white space"));
  }
  return std::move(builder.root);
}

}  // namespace hyperhost
