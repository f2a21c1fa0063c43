// SPDX-License-Identifier: Apache-2.0
#include "xml.hpp"

#include <charconv>
#include <cstring>

namespace hyper::vsphere {
namespace {

/// The attribute `name` with a prefix (xsi) or without one.
std::string attribute(const pugi::xml_node& node, std::string_view name, bool prefixed) {
  for (const pugi::xml_attribute& one : node.attributes()) {
    const bool has_prefix = std::strchr(one.name(), ':') != nullptr;
    if (has_prefix == prefixed && local_name(one.name()) == name) return one.value();
  }
  return {};
}

}  // namespace

std::string_view local_name(const char* name) {
  const char* colon = std::strrchr(name, ':');
  return colon == nullptr ? name : colon + 1;
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
  for (const pugi::xml_node& inner : node.children())
    if (inner.type() == pugi::node_element && local_name(inner.name()) == name) return inner;
  return {};
}

pugi::xml_node descend(const pugi::xml_node& node, std::string_view path) {
  pugi::xml_node at = node;
  while (!path.empty() && at) {
    const std::size_t slash = path.find('/');
    at = child(at, path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return at;
}

std::string text(const pugi::xml_node& node) {
  return node.child_value();
}

std::string text(const pugi::xml_node& node, std::string_view path) {
  return text(descend(node, path));
}

bool flag(const pugi::xml_node& node, std::string_view path) {
  const std::string value = text(node, path);
  return value == "true" || value == "1";
}

uint64_t number(const pugi::xml_node& node, std::string_view path) {
  const std::string value = text(node, path);
  uint64_t out = 0;
  const char* end = value.data() + value.size();
  const auto result = std::from_chars(value.data(), end, out);
  return result.ec == std::errc() && result.ptr == end ? out : 0;
}

std::string xsi_type(const pugi::xml_node& node) {
  return std::string(local_name(attribute(node, "type", true).c_str()));
}

Ref ref_in(const pugi::xml_node& node) {
  return {attribute(node, "type", false), text(node)};
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:  // XML does not allow control characters
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return out;
}

Args& Args::text(const char* name, std::string_view value) {
  out_ += std::string("<") + name + ">" + escaped(value) + "</" + name + ">";
  return *this;
}
Args& Args::number(const char* name, uint64_t value) {
  return text(name, std::to_string(value));
}
Args& Args::flag(const char* name, bool value) {
  return text(name, value ? "true" : "false");
}
Args& Args::ref(const char* name, const Ref& ref) {
  out_ += std::string("<") + name + " type=\"" + escaped(ref.type) + "\">" + escaped(ref.id) +
          "</" + name + ">";
  return *this;
}
Args& Args::open(const char* name, const char* type) {
  out_ += std::string("<") + name;
  if (type != nullptr) out_ += std::string(" xsi:type=\"") + type + "\"";
  out_ += ">";
  return *this;
}
Args& Args::close(const char* name) {
  out_ += std::string("</") + name + ">";
  return *this;
}

}  // namespace hyper::vsphere
