// SPDX-License-Identifier: Apache-2.0
#include "xml.hpp"

#include <algorithm>
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

std::string shown_text(std::string_view text, std::size_t at_most) {
  std::string out;
  while (!text.empty()) {
    constexpr std::string_view kKey = "session[";
    if (text.rfind(kKey, 0) == 0) {
      const std::size_t end = text.find(']');
      out += "session[…";
      text.remove_prefix(std::min(end, text.size()));
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[0]);
    out += byte < 0x20 || byte == 0x7f ? ' ' : text[0];
    text.remove_prefix(1);
  }
  if (out.size() <= at_most) return out;
  while (at_most > 0 && (static_cast<unsigned char>(out[at_most]) & 0xc0) == 0x80) --at_most;
  return out.substr(0, at_most);
}

namespace {

/// The length of the UTF-8 character at the front; 0 if there is none (RFC 3629).
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool beyond = (first == 0xed && byte(1) > 0x9f) || (first == 0xf4 && byte(1) > 0x8f);
  return overlong || beyond ? 0 : length;
}

}  // namespace

std::string valid_utf8(std::string text) {
  std::size_t good = 0;
  while (good < text.size()) {
    const std::size_t length = character_length(std::string_view(text).substr(good));
    if (length == 0) break;
    good += length;
  }
  if (good == text.size()) return text;
  std::string out = text.substr(0, good);
  for (std::string_view rest = std::string_view(text).substr(good); !rest.empty();) {
    const std::size_t length = character_length(rest);
    out += length == 0 ? std::string_view("\xEF\xBF\xBD") : rest.substr(0, length);
    rest.remove_prefix(std::max<std::size_t>(length, 1));
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
