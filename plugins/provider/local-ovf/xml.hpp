// SPDX-License-Identifier: Apache-2.0
// Reading OVF's XML by local names: exporters choose prefixes and even namespaces freely. Document
// types and entities are never expanded (pugixml does not); size, depth and number of elements are
// bounded. Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <pugixml.hpp>

namespace hyper::ovf {

/// Throws HYPER_CORRUPT with line and column.
void load_xml(pugi::xml_document& document, const std::string& text, const std::string& label);

/// The element's local name; for oVirt's <Section xsi:type="ovf:DiskSection_Type">, "DiskSection".
std::string kind(const pugi::xml_node& node);

/// The first child element of that kind.
pugi::xml_node child(const pugi::xml_node& node, const char* name);
/// Its text, trimmed; "" if there is none.
std::string child_text(const pugi::xml_node& node, const char* name);

/// The attribute of that local name: with OVF's own prefix, else without, else with any.
std::optional<std::string> attribute(const pugi::xml_node& node, const char* name);
std::string attribute_or(const pugi::xml_node& node, const char* name, const char* otherwise = "");

template <class F>
void each_child(const pugi::xml_node& node, F f) {
  for (const pugi::xml_node& inner : node.children())
    if (inner.type() == pugi::node_element) f(inner);
}

/// The first element of that kind anywhere below.
pugi::xml_node descendant(const pugi::xml_node& node, const char* name);

/// Same letters, any case.
bool same(const std::string& a, const char* b);

}  // namespace hyper::ovf
