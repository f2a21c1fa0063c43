// SPDX-License-Identifier: Apache-2.0
#include "core/config/override.hpp"

#include <charconv>
#include <optional>
#include <string>
#include <variant>

#include "core/config/read_yaml.hpp"

namespace hyperhost {
namespace {

using Step = std::variant<std::string, size_t>;  // a key, an index

struct Parsed {
  std::vector<Step> steps;
  std::string_view path, value;
};

/// Takes one step off the front of `text`; nothing when it has none.
std::optional<Step> take_step(std::string_view& text, bool first) {
  if (text.starts_with('[') && !first) {
    size_t index = 0;
    const auto [stop, error] = std::from_chars(text.data() + 1, text.data() + text.size(), index);
    const auto length = static_cast<size_t>(stop - text.data());
    if (error != std::errc() || length >= text.size() || *stop != ']') return std::nullopt;
    text.remove_prefix(length + 1);
    return index;
  }
  if (!first) {
    if (!text.starts_with('.')) return std::nullopt;
    text.remove_prefix(1);
  }
  if (text.starts_with('"')) {
    const size_t end = text.find('"', 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string key(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    return key;
  }
  const size_t length = std::min(text.find_first_of(".[=\""), text.size());
  if (length == 0) return std::nullopt;
  std::string key(text.substr(0, length));
  text.remove_prefix(length);
  return key;
}

std::optional<Parsed> parse(std::string_view argument) {
  Parsed parsed;
  std::string_view rest = argument;
  while (!rest.starts_with('=')) {
    auto step = take_step(rest, parsed.steps.empty());
    if (!step || parsed.steps.size() >= kMaxYamlDepth) return std::nullopt;
    parsed.steps.push_back(std::move(*step));
  }
  if (parsed.steps.empty()) return std::nullopt;
  parsed.path = argument.substr(0, argument.size() - rest.size());
  parsed.value = rest.substr(1);
  return parsed;
}

bool refuse(std::vector<Diagnostic>& problems, std::string where, std::string summary,
            std::string hint) {
  Diagnostic diagnostic;
  diagnostic.code = Code::kConfig;
  diagnostic.where = std::move(where);
  diagnostic.summary = std::move(summary);
  diagnostic.hint = std::move(hint);
  problems.push_back(std::move(diagnostic));
  return false;
}

}  // namespace

bool apply_override(ConfigValue& plan, std::string_view argument, std::vector<Diagnostic>& problems,
                    const std::string& flag) {
  const auto parsed = parse(argument);
  if (!parsed) {
    return refuse(problems, "--set", "this is not KEY=VALUE",
                  "write it as --set defaults.verify=none or --set migrations[0].priority=5");
  }
  const std::string where = flag.empty() ? "--set " + std::string(parsed->path) : flag;
  const Mark mark{std::make_shared<const std::string>(where), 0, 0};
  ConfigValue value;
  if (parsed->value.find_first_not_of(" \t\r\n") != std::string_view::npos) {
    std::vector<Diagnostic> unread;
    auto read = read_yaml(parsed->value, where, unread);
    if (!read || !unread.empty()) {
      return refuse(problems, where, "the value is not valid YAML",
                    "put text with special characters into quotes");
    }
    value = std::move(*read);
  } else {
    value = ConfigValue(std::string(), mark);
  }
  value.mark_all(mark);
  ConfigValue* node = &plan;
  for (const Step& step : parsed->steps) {
    if (const size_t* index = std::get_if<size_t>(&step)) {
      if (node->is(ConfigValue::Kind::kNull)) *node = ConfigValue(ConfigValue::Sequence(), mark);
      auto* sequence = node->sequence();
      if (sequence == nullptr || *index > sequence->size()) {
        return refuse(problems, where,
                      sequence == nullptr
                          ? "[" + std::to_string(*index) + "] is not in a list"
                          : "there is no item " + std::to_string(*index) + ": the list has " +
                                std::to_string(sequence->size()),
                      "items count from 0");
      }
      if (*index == sequence->size()) sequence->emplace_back(ConfigValue::Data(), mark);
      node = &(*sequence)[*index];
      continue;
    }
    const std::string& key = std::get<std::string>(step);
    if (node->is(ConfigValue::Kind::kNull)) *node = ConfigValue::mapping(mark);
    if (node->members() == nullptr) {
      return refuse(problems, where, "'" + key + "' is not in a mapping",
                    node->sequence() != nullptr ? "name the item of the list, e.g. [0]" : "");
    }
    if (node->find(key) == nullptr) node->set(key, ConfigValue({}, mark), mark);
    node = node->find(key);
  }
  *node = std::move(value);
  return true;
}

}  // namespace hyperhost
