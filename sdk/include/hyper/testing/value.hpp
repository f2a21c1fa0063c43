// SPDX-License-Identifier: Apache-2.0
// JSON values for the test host (host.hpp): what a plugin sees as a hyper_doc in its own tests.
// Part of the SDK, not of the ABI. A plain value: any thread may own one.
#ifndef HYPER_TESTING_VALUE_HPP
#define HYPER_TESTING_VALUE_HPP

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../types.h"

namespace hyper::testing {

struct Value {
  int32_t type = HYPER_VAL_NULL;
  int64_t integer = 0;  ///< also of a truth value
  double number = 0;
  std::string text;
  std::vector<Value> items;       ///< of an array, or the values of `keys`
  std::vector<std::string> keys;  ///< of an object, ascending

  /// The member of an object; null where there is none.
  const Value* member(const std::string& key) const {
    const auto at = std::lower_bound(keys.begin(), keys.end(), key);
    return at == keys.end() || *at != key ? nullptr : &items[index(at)];
  }
  /// The same, made where it is missing.
  Value& made(const std::string& key) {
    const auto at = std::lower_bound(keys.begin(), keys.end(), key);
    const std::size_t place = index(at);
    if (at == keys.end() || *at != key) {
      keys.insert(at, key);
      items.insert(items.begin() + static_cast<std::ptrdiff_t>(place), Value());
    }
    return items[place];
  }

 private:
  std::size_t index(std::vector<std::string>::const_iterator at) const {
    return static_cast<std::size_t>(at - keys.begin());
  }
};

/// Throws std::invalid_argument where a text is no UTF-8.
inline void need_utf8(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const unsigned first = byte(i), second = byte(i + 1);
    const std::size_t more = first < 0x80                    ? 0
                             : first >= 0xC2 && first < 0xE0 ? 1
                             : first >= 0xE0 && first < 0xF0 ? 2
                             : first >= 0xF0 && first < 0xF5 ? 3
                                                             : 9;
    bool good = more != 9 && !(first == 0xE0 && second < 0xA0) &&
                !(first == 0xED && second > 0x9F) && !(first == 0xF0 && second < 0x90) &&
                !(first == 0xF4 && second > 0x8F);
    for (std::size_t n = 1; good && n <= more; ++n) good = (byte(i + n) & 0xC0) == 0x80;
    if (!good) throw std::invalid_argument("no UTF-8");
    i += more + 1;
  }
}

/// The parts of a JSON Pointer. Throws std::invalid_argument where it is none.
inline std::vector<std::string> pointer_parts(const std::string& pointer) {
  std::vector<std::string> parts;
  if (!pointer.empty() && pointer[0] != '/') throw std::invalid_argument("no JSON Pointer");
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      parts.emplace_back();
    } else if (pointer[i] != '~') {
      parts.back() += pointer[i];
    } else {
      const char escaped = ++i < pointer.size() ? pointer[i] : '\0';
      if (escaped != '0' && escaped != '1') throw std::invalid_argument("no JSON Pointer");
      parts.back() += escaped == '0' ? '~' : '/';
    }
  }
  return parts;
}

/// An element's number, or the array's size for "-". Throws where it is neither.
inline std::size_t element(const std::string& part, std::size_t size) {
  if (part == "-") return size;
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
  if (error != std::errc() || end != part.data() + part.size() || number > size)
    throw std::invalid_argument("no element of that number");
  return number;
}

/// Null where there is no value at that pointer. Throws as pointer_parts().
inline const Value* find(const Value& root, const std::string& pointer) {
  const Value* at = &root;
  for (const std::string& part : pointer_parts(pointer)) {
    if (at->type == HYPER_VAL_OBJECT) {
      at = at->member(part);
    } else if (at->type == HYPER_VAL_ARRAY && !part.empty() &&
               part.find_first_not_of("0123456789") == std::string::npos &&
               (part.size() < 2 || part[0] != '0')) {
      const std::size_t number = element(part, at->items.size());
      at = number < at->items.size() ? &at->items[number] : nullptr;
    } else {
      at = nullptr;
    }
    if (at == nullptr) return nullptr;
  }
  return at;
}

/// The place at that pointer, made where it is missing. Throws std::invalid_argument.
inline Value& place(Value& root, const std::string& pointer) {
  Value* at = &root;
  for (const std::string& part : pointer_parts(pointer)) {
    if (at->type == HYPER_VAL_NULL) at->type = part == "-" ? HYPER_VAL_ARRAY : HYPER_VAL_OBJECT;
    if (at->type == HYPER_VAL_OBJECT) {
      at = &at->made(part);
    } else if (at->type == HYPER_VAL_ARRAY) {
      const std::size_t number = element(part, at->items.size());
      if (number == at->items.size()) at->items.emplace_back();
      at = &at->items[number];
    } else {
      throw std::invalid_argument("a value without members");
    }
  }
  return *at;
}

namespace detail {
inline void print_text(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : text) {
    char code[8];
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out += c;
        } else {
          std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
          out += code;
        }
    }
  }
  out += '"';
}

inline void print(const Value& value, std::string& out) {
  char number[40];
  switch (value.type) {
    case HYPER_VAL_BOOL:
      out += value.integer != 0 ? "true" : "false";
      break;
    case HYPER_VAL_INT:
      out += std::to_string(value.integer);
      break;
    case HYPER_VAL_FLOAT: {
      const auto end = std::to_chars(number, number + sizeof number, value.number).ptr;
      const std::string digits(number, end);
      out += digits;
      if (digits.find_first_of(".en") == std::string::npos) out += ".0";
      break;
    }
    case HYPER_VAL_STRING:
      print_text(value.text, out);
      break;
    case HYPER_VAL_ARRAY:
    case HYPER_VAL_OBJECT: {
      const bool object = value.type == HYPER_VAL_OBJECT;
      out += object ? '{' : '[';
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i != 0) out += ',';
        if (object) print_text(value.keys[i], out), out += ':';
        print(value.items[i], out);
      }
      out += object ? '}' : ']';
      break;
    }
    default:
      out += "null";
  }
}

/// Strict JSON, UTF-8, at most 128 levels deep.
class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}
  Value all() {
    Value value = one(0);
    blank();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  [[noreturn]] static void fail() { throw std::invalid_argument("no JSON"); }
  void blank() {
    while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos)
      ++at_;
  }
  bool take(char wanted) {
    blank();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void need(const std::string& word) {
    if (text_.compare(at_, word.size(), word) != 0) fail();
    at_ += word.size();
  }
  Value one(int depth) {
    Value value;
    blank();
    if (at_ >= text_.size() || depth > 128) fail();
    const char first = text_[at_];
    if (first == '{' || first == '[') {
      members(value, depth);
    } else if (first == '"') {
      value.type = HYPER_VAL_STRING;
      value.text = text();
    } else if (first == 't' || first == 'f') {
      value.type = HYPER_VAL_BOOL;
      value.integer = first == 't' ? 1 : 0;
      need(first == 't' ? "true" : "false");
    } else if (first == 'n') {
      need("null");
    } else {
      number(value);
    }
    return value;
  }
  void members(Value& value, int depth) {
    const bool object = text_[at_++] == '{';
    value.type = object ? HYPER_VAL_OBJECT : HYPER_VAL_ARRAY;
    const char end = object ? '}' : ']';
    if (take(end)) return;
    do {
      if (object) {
        blank();
        if (at_ >= text_.size() || text_[at_] != '"') fail();
        const std::string key = text();
        if (!take(':')) fail();
        value.made(key) = one(depth + 1);
      } else {
        value.items.push_back(one(depth + 1));
      }
    } while (take(','));
    if (!take(end)) fail();
  }
  void number(Value& value) {
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           std::string("+-.eE0123456789").find(text_[at_]) != std::string::npos)
      ++at_;
    const char* from = text_.data() + begin;
    const char* to = text_.data() + at_;
    const char* digits = from != to && *from == '-' ? from + 1 : from;
    if (digits == to || *digits < '0' || *digits > '9' ||
        (*digits == '0' && digits + 1 != to && digits[1] >= '0' && digits[1] <= '9'))
      fail();
    const auto whole = std::from_chars(from, to, value.integer);
    if (whole.ec == std::errc() && whole.ptr == to) {
      value.type = HYPER_VAL_INT;
      value.number = static_cast<double>(value.integer);
      return;
    }
    value.integer = 0;
    const char* dot = std::find(from, to, '.');
    if (dot != to && (dot + 1 == to || dot[1] < '0' || dot[1] > '9')) fail();
    const auto part = std::from_chars(from, to, value.number);
    if (part.ec != std::errc() || part.ptr != to) fail();
    value.type = HYPER_VAL_FLOAT;
  }
  unsigned hex() {
    unsigned code = 0;
    if (text_.size() - at_ < 4) fail();
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, code, 16);
    if (error != std::errc() || end != text_.data() + at_ + 4) fail();
    at_ += 4;
    return code;
  }
  void utf8(unsigned code, std::string& out) {
    if (code >= 0xD800 && code < 0xDC00) {  // the first half of a pair
      need("\\u");
      const unsigned second = hex();
      if (second < 0xDC00 || second > 0xDFFF) fail();
      code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      fail();
    }
    const auto byte = [&](unsigned bits) { out += static_cast<char>(bits); };
    if (code < 0x80) return byte(code);
    if (code < 0x800) return byte(0xC0 | code >> 6), byte(0x80 | (code & 63));
    if (code < 0x10000)
      return byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 63)), byte(0x80 | (code & 63));
    byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 63)), byte(0x80 | (code >> 6 & 63));
    byte(0x80 | (code & 63));
  }
  std::string text() {
    static const std::string kinds = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    std::string out;
    for (++at_; at_ < text_.size() && text_[at_] != '"';) {
      const char c = text_[at_++];
      if (static_cast<unsigned char>(c) < 0x20) fail();
      if (c != '\\') {
        out += c;
        continue;
      }
      const char kind = at_ < text_.size() ? text_[at_++] : '\0';
      const std::size_t known = kinds.find(kind);
      if (kind == 'u')
        utf8(hex(), out);
      else if (kind != '\0' && known != std::string::npos)
        out += meanings[known];
      else
        fail();
    }
    if (at_++ >= text_.size()) fail();
    need_utf8(out);
    return out;
  }
  const std::string& text_;
  std::size_t at_ = 0;
};
}  // namespace detail

/// Throws std::invalid_argument where the text is no JSON.
inline Value parse(const std::string& text) {
  return detail::Parser(text).all();
}
inline std::string print(const Value& value) {
  std::string out;
  detail::print(value, out);
  return out;
}

}  // namespace hyper::testing

#endif
