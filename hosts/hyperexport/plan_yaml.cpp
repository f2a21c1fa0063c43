// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperexport/plan_yaml.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

namespace hyperhost {
namespace {

/// Text that YAML reads as that text without quotes.
bool is_plain(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::array<std::string_view, 9> kWords = {"true", "false", "yes", "no", "on",
                                                      "off",  "null",  "y",   "n"};
  if (text.empty() || (kLetters.find(text[0]) == std::string_view::npos && text[0] != '/'))
    return false;
  for (const char c : text)
    if (kLetters.find(c) == std::string_view::npos &&
        std::string_view("0123456789/._-").find(c) == std::string_view::npos)
      return false;
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (const std::string_view word : kWords)
    if (lower == word) return false;
  return true;
}

std::string scalar(const nlohmann::json& value) {
  if (value.is_string() && is_plain(value.get_ref<const std::string&>()))
    return value.get<std::string>();
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string text_of(const std::string& key) {
  return scalar(nlohmann::json(key));
}

/// {env: NAME} or {file: PATH}, also where it was not recognised as a reference yet.
bool is_reference(const ConfigValue& value) {
  const auto* members = value.members();
  return value.reference() != nullptr ||
         (members != nullptr && members->size() == 1 &&
          members->front().value.string() != nullptr &&
          (members->front().key == "env" || members->front().key == "file"));
}

void write(const ConfigValue& value, std::size_t depth, bool in_sequence, std::string& out) {
  const std::string indent(depth * 2, ' ');
  if (is_reference(value)) {
    const nlohmann::json reference = value.to_json();
    out += "{" + reference.begin().key() + ": " + scalar(*reference.begin()) + "}\n";
  } else if (const auto* members = value.members(); members != nullptr && !members->empty()) {
    bool first = true;
    for (const auto& member : *members) {
      // The first key of an item stands beside its dash.
      out += (first && in_sequence ? "" : indent) + text_of(member.key) + ":";
      first = false;
      const auto* inner = member.value.members();
      const auto* list = member.value.sequence();
      const bool nested = !is_reference(member.value) && ((inner != nullptr && !inner->empty()) ||
                                                          (list != nullptr && !list->empty()));
      out += nested ? "\n" : " ";
      write(member.value, depth + 1, false, out);
    }
  } else if (const auto* items = value.sequence(); items != nullptr && !items->empty()) {
    for (const ConfigValue& item : *items) {
      out += indent + "- ";
      write(item, depth + 1, true, out);
    }
  } else {
    out += scalar(value.to_json()) + "\n";
  }
}

}  // namespace

std::string plan_yaml(const ConfigValue& document) {
  std::string out;
  write(document, 0, false, out);
  return out;
}

}  // namespace hyperhost
