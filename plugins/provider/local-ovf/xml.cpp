// SPDX-License-Identifier: Apache-2.0
#include "xml.hpp"

#include <algorithm>
#include <string_view>

#include <hyper/error.hpp>

#include "ovf_model.hpp"
#include "package.hpp"
#include "units.hpp"

namespace hyper::ovf {
namespace {

constexpr int kMaxDepth = 200;
constexpr std::ptrdiff_t kMaxElements = 500'000;  // tags, so at most some 60 MiB of nodes

std::string local_name(std::string_view name) {
  const std::size_t colon = name.rfind(':');
  return std::string(colon == std::string_view::npos ? name : name.substr(colon + 1));
}

std::string line_and_column(const std::string& text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const auto begin = text.begin();
  const auto at = begin + static_cast<std::ptrdiff_t>(offset);
  const auto lines = std::count(begin, at, '\n');
  const std::size_t last = offset == 0 ? std::string::npos : text.rfind('\n', offset - 1);
  const std::size_t column = last == std::string::npos ? offset + 1 : offset - last;
  return std::to_string(lines + 1) + ":" + std::to_string(column);
}

struct DepthLimit : pugi::xml_tree_walker {
  bool exceeded = false;
  bool for_each(pugi::xml_node&) override {
    exceeded = depth() > kMaxDepth;
    return !exceeded;
  }
};

}  // namespace

bool same(const std::string& a, const char* b) {
  return lower(a) == lower(b);
}

void load_xml(pugi::xml_document& document, const std::string& text, const std::string& label) {
  if (text.size() > kMaxDescriptorBytes || std::count(text.begin(), text.end(), '<') > kMaxElements)
    throw Error(HYPER_CORRUPT, "the descriptor '" + label + "' is absurdly large");
  const pugi::xml_parse_result result =
      document.load_buffer(text.data(), text.size(), pugi::parse_default);
  if (!result) {
    const auto offset = static_cast<std::size_t>(std::max<std::ptrdiff_t>(result.offset, 0));
    throw Error(HYPER_CORRUPT, "the descriptor '" + label + "' is not well-formed XML at " +
                                   line_and_column(text, offset) + ": " + result.description())
        .hint("Export the package again.");
  }
  DepthLimit limit;
  document.traverse(limit);
  if (limit.exceeded)
    throw Error(HYPER_CORRUPT, "the descriptor '" + label + "' is nested absurdly deep");
}

std::string kind(const pugi::xml_node& node) {
  std::string name = local_name(node.name());
  if (name != "Section" && name != "Content") return name;
  const auto type = attribute(node, "type");
  if (!type) return name;
  name = local_name(*type);
  constexpr std::string_view kEnd = "_Type";
  if (name.size() > kEnd.size() && name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) == 0)
    name.resize(name.size() - kEnd.size());
  return name;
}

pugi::xml_node child(const pugi::xml_node& node, const char* name) {
  for (const pugi::xml_node& inner : node.children())
    if (inner.type() == pugi::node_element && same(kind(inner), name)) return inner;
  return {};
}

std::string child_text(const pugi::xml_node& node, const char* name) {
  return trimmed(child(node, name).text().get());
}

std::optional<std::string> attribute(const pugi::xml_node& node, const char* name) {
  pugi::xml_attribute other;
  for (const pugi::xml_attribute& found : node.attributes()) {
    const std::string_view full = found.name();
    if (local_name(full) != name) continue;
    if (full.rfind("ovf:", 0) == 0) return found.value();
    if (!other || full == name) other = found;
  }
  if (!other) return std::nullopt;
  return other.value();
}

std::string attribute_or(const pugi::xml_node& node, const char* name, const char* otherwise) {
  return attribute(node, name).value_or(otherwise);
}

pugi::xml_node descendant(const pugi::xml_node& node, const char* name) {
  return node.find_node([&](const pugi::xml_node& inner) { return same(kind(inner), name); });
}

}  // namespace hyper::ovf
