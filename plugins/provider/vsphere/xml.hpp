// SPDX-License-Identifier: Apache-2.0
// Reads and writes the API's XML. Servers choose prefixes freely and put a plain `type` (of a
// reference) beside an xsi one (of the value), so everything is matched by local name. Stateless.
#ifndef HYPERHOST_PLUGINS_VSPHERE_XML_HPP
#define HYPERHOST_PLUGINS_VSPHERE_XML_HPP

#include <cstdint>
#include <pugixml.hpp>
#include <string>
#include <string_view>

namespace hyper::vsphere {

/// A managed object: "VirtualMachine", "vm-42".
struct Ref {
  std::string type, id;
  bool empty() const { return id.empty(); }
  bool operator==(const Ref& other) const { return type == other.type && id == other.id; }
};

std::string_view local_name(const char* name);
/// The first child element of that local name; an empty node if there is none.
pugi::xml_node child(const pugi::xml_node& node, std::string_view name);
/// By a path of names: "backing/port/portgroupKey".
pugi::xml_node descend(const pugi::xml_node& node, std::string_view path);
/// The element's text; "" if there is none.
std::string text(const pugi::xml_node& node);
std::string text(const pugi::xml_node& node, std::string_view path);
bool flag(const pugi::xml_node& node, std::string_view path);
/// 0 for a text that is not a number or is too large.
uint64_t number(const pugi::xml_node& node, std::string_view path);
/// The xsi:type without its prefix; "" if there is none.
std::string xsi_type(const pugi::xml_node& node);
/// The reference in an element such as <parent type="Folder">group-v3</parent>.
Ref ref_in(const pugi::xml_node& node);

template <class F>
void each(const pugi::xml_node& node, std::string_view name, F f) {
  for (const pugi::xml_node& inner : node.children())
    if (inner.type() == pugi::node_element && (name.empty() || local_name(inner.name()) == name))
      f(inner);
}

/// A call's arguments, in the order that the API requires.
class Args {
 public:
  Args& text(const char* name, std::string_view value);
  Args& number(const char* name, uint64_t value);
  Args& flag(const char* name, bool value);
  Args& ref(const char* name, const Ref& ref);
  Args& open(const char* name, const char* type = nullptr);
  Args& close(const char* name);
  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

std::string escaped(std::string_view text);

/// A server's text for a message: one line, no control characters, no session keys (they are part
/// of some references), at most that many bytes.
std::string shown_text(std::string_view text, std::size_t at_most);

/// UTF-8: each byte that belongs to no character becomes U+FFFD.
std::string valid_utf8(std::string text);

}  // namespace hyper::vsphere

#endif
