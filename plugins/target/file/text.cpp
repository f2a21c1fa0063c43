// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/file/text.hpp"

#include <array>
#include <cstdint>
#include <cstdio>

namespace hyperhost::file_target {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

/// FNV-1a, for names only.
std::string short_hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  std::array<char, 9> out{};
  std::snprintf(out.data(), out.size(), "%08x", hash);
  return out.data();
}

/// A character that YAML takes for the end of a line, or does not take at all, by its code point
/// and length; length 0: any other character.
struct Odd {
  uint32_t code = 0;
  std::size_t length = 0;
};

Odd odd_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  if (is_control(text[at])) return {byte(0), 1};
  if (byte(0) == 0xc2 && byte(1) < 0xa0) return {byte(1), 2};
  if ((byte(0) & 0xf0) != 0xe0) return {};
  const uint32_t code = (byte(0) & 0xfu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
  const bool odd = code == 0x2028 || code == 0x2029 || code == 0xfeff || code >= 0xfffe;
  return odd ? Odd{code, 3} : Odd{};
}

}  // namespace

std::string xml(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (const Odd odd = odd_at(text, i); odd.code >= 0xfffe) {  // no XML document may hold it
      out += '?';
      i += odd.length - 1;
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&apos;";
    } else if (c == '\n' || c == '\t') {
      out += c == '\n' ? "&#10;" : "&#9;";
    } else {
      out += is_control(c) ? '?' : c;
    }
  }
  return out;
}

std::string yaml(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (const Odd odd = odd_at(text, i); odd.length != 0) {
      std::array<char, 7> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", odd.code & 0xffffu);
      out += code.data();
      i += odd.length - 1;
      continue;
    }
    if (text[i] == '"' || text[i] == '\\') out += '\\';
    out += text[i];
  }
  return out + "\"";
}

std::string shell(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c == '\0' ? '?' : c;
  }
  return out + "'";
}

std::string comment(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Odd odd = odd_at(text, i);
    out += odd.length != 0 ? '?' : text[i];
    if (odd.length != 0) i += odd.length - 1;
  }
  return out;
}

std::string dns_label(std::string_view text, std::size_t most) {
  std::string out;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (upper)
      out += static_cast<char>(c - 'A' + 'a');
    else if (plain)
      out += c;
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  if (out == text && out.size() <= most) return out;
  const std::string hash = short_hash(text);
  out.resize(std::min(out.size(), most - hash.size() - 1));
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "vm-" + hash : out + "-" + hash;
}

std::string XmlWriter::start(const std::string& name, const Attributes& attributes) const {
  std::string out(2 * open_.size(), ' ');
  out += "<" + name;
  for (const auto& [key, value] : attributes) out += " " + key + "=\"" + xml(value) + "\"";
  return out;
}

void XmlWriter::open(const std::string& name, const Attributes& attributes) {
  out_ += start(name, attributes) + ">\n";
  open_.push_back(name);
}

void XmlWriter::close() {
  const std::string name = open_.back();
  open_.pop_back();
  out_ += std::string(2 * open_.size(), ' ') + "</" + name + ">\n";
}

void XmlWriter::empty(const std::string& name, const Attributes& attributes) {
  out_ += start(name, attributes) + "/>\n";
}

void XmlWriter::text(const std::string& name, const std::string& content,
                     const Attributes& attributes) {
  out_ += start(name, attributes) + ">" + xml(content) + "</" + name + ">\n";
}

}  // namespace hyperhost::file_target
