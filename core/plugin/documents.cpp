// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/documents.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

namespace hyperhost {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostBytes = 16u << 20;
constexpr int kMostDepth = 128;

struct TooDeep {};

/// The value at a pointer, or null if there is none.
const Json* lookup(const hyper_doc* doc, const char* pointer) {
  if (doc == nullptr || pointer == nullptr) return nullptr;
  const Json::json_pointer at{std::string(pointer)};
  if (at.empty()) return &doc->json;
  return doc->json.contains(at) ? &doc->json.at(at) : nullptr;
}

hyper_val value_of(const Json& value) {
  hyper_val out{};
  if (value.is_boolean()) {
    out.type = HYPER_VAL_BOOL;
    out.i64 = value.get<bool>() ? 1 : 0;
  } else if (value.is_number()) {
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
    out.type = fits ? HYPER_VAL_INT : HYPER_VAL_FLOAT;
    out.i64 = fits ? value.get<int64_t>() : 0;
    out.f64 = value.get<double>();
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    out.type = HYPER_VAL_STRING;
    out.str = text.c_str();
    out.len = text.size();
  } else if (value.is_array() || value.is_object()) {
    out.type = value.is_array() ? HYPER_VAL_ARRAY : HYPER_VAL_OBJECT;
    out.len = value.size();
  }
  return out;
}

void hand_out(hyper_val result, hyper_val* out) {
  result.size = std::min<uint32_t>(out->size, sizeof result);
  std::memcpy(out, &result, result.size);
}

/// Throws if the text is not UTF-8: such a document could not be written as JSON text.
void require_utf8(const std::string& text) {
  static_cast<void>(Json(text).dump());
}

/// The cell at a pointer. Makes missing parts. Null if the pointer leads through a value that has
/// no members.
Json* cell(Json& root, const char* pointer) {
  require_utf8(pointer);
  Json::json_pointer at{std::string(pointer)};
  std::vector<std::string> parts;
  for (; !at.empty(); at.pop_back()) parts.push_back(at.back());
  if (parts.size() > kMostDepth) return nullptr;
  Json* found = &root;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (found->is_null()) *found = *part == "-" ? Json::array() : Json::object();
    if (found->is_object()) {
      found = &(*found)[*part];
      continue;
    }
    if (!found->is_array()) return nullptr;
    std::size_t index = found->size();
    if (*part != "-") {
      const char* const end = part->data() + part->size();
      const auto [stop, error] = std::from_chars(part->data(), end, index);
      if (error != std::errc() || stop != end || index > found->size()) return nullptr;
    }
    if (index == found->size()) found->push_back(nullptr);
    found = &(*found)[index];
  }
  return found;
}

/// The JSON value of a hyper_val; nothing if the hyper_val is invalid.
std::optional<Json> json_of(const hyper_val& value) {
  switch (value.type) {
    case HYPER_VAL_NULL:
      return Json();
    case HYPER_VAL_BOOL:
      return Json(value.i64 != 0);
    case HYPER_VAL_INT:
      return Json(value.i64);
    case HYPER_VAL_FLOAT:
      return Json(value.f64);
    case HYPER_VAL_ARRAY:
      return Json::array();
    case HYPER_VAL_OBJECT:
      return Json::object();
    case HYPER_VAL_STRING: {
      if (value.len > kMostBytes || (value.str == nullptr && value.len != 0)) return std::nullopt;
      std::string text = value.len == 0 ? std::string() : std::string(value.str, value.len);
      require_utf8(text);
      return Json(std::move(text));
    }
    default:
      return std::nullopt;
  }
}

/// Turns exceptions into a status. It reports nothing, because these calls have no operation.
template <class F>
hyper_st guarded(F&& f) noexcept {
  try {
    return f();
  } catch (...) {  // an invalid pointer, text that is not UTF-8, no memory
    return HYPER_FAIL;
  }
}

hyper_st doc_get(const hyper_doc* doc, const char* pointer, hyper_val* out) noexcept {
  const hyper_st status = guarded([&]() -> hyper_st {
    const Json* value = lookup(doc, pointer);
    if (value == nullptr || out == nullptr) return HYPER_NOTFOUND;
    hand_out(value_of(*value), out);
    return HYPER_OK;
  });
  return status == HYPER_FAIL ? HYPER_NOTFOUND : status;
}

hyper_st doc_key(const hyper_doc* doc, const char* pointer, uint64_t index,
                 hyper_val* out) noexcept {
  const hyper_st status = guarded([&]() -> hyper_st {
    const Json* value = lookup(doc, pointer);
    if (value == nullptr || out == nullptr || !value->is_object() || index >= value->size())
      return HYPER_NOTFOUND;
    const auto member = std::next(value->begin(), static_cast<std::ptrdiff_t>(index));
    hyper_val key{};
    key.type = HYPER_VAL_STRING;
    key.str = member.key().c_str();
    key.len = member.key().size();
    hand_out(key, out);
    return HYPER_OK;
  });
  return status == HYPER_FAIL ? HYPER_NOTFOUND : status;
}

hyper_st doc_emit(const hyper_doc* doc, const char* pointer, hyper_emit emit, void* arg) noexcept {
  return guarded([&]() -> hyper_st {
    const Json* value = lookup(doc, pointer);
    if (value == nullptr || emit == nullptr) return HYPER_NOTFOUND;
    const std::string text = value->dump();
    return emit(arg, text.data(), text.size());
  });
}

hyper_st doc_parse(const char* json, uint64_t len, hyper_doc** out) noexcept {
  return guarded([&]() -> hyper_st {
    if (json == nullptr || out == nullptr || len > kMostBytes) return HYPER_CORRUPT;
    auto parsed = parse_document({json, static_cast<std::size_t>(len)});
    if (!parsed) return HYPER_CORRUPT;
    *out = new hyper_doc{std::move(*parsed)};
    return HYPER_OK;
  });
}

hyper_doc* doc_new() noexcept {
  try {
    return new hyper_doc{Json::object()};
  } catch (...) {
    return nullptr;
  }
}

hyper_st doc_set(hyper_doc* doc, const char* pointer, const hyper_val* value) noexcept {
  return guarded([&]() -> hyper_st {
    if (doc == nullptr || pointer == nullptr || value == nullptr) return HYPER_FAIL;
    hyper_val full{};
    std::memcpy(&full, value, std::min<std::size_t>(value->size, sizeof full));
    auto made = json_of(full);
    Json* const target = made ? cell(doc->json, pointer) : nullptr;
    if (target == nullptr) return HYPER_FAIL;
    *target = std::move(*made);
    return HYPER_OK;
  });
}

hyper_st doc_copy(hyper_doc* doc, const char* pointer, const hyper_doc* from,
                  const char* from_pointer) noexcept {
  return guarded([&]() -> hyper_st {
    if (doc == nullptr || pointer == nullptr) return HYPER_FAIL;
    const Json* value = lookup(from, from_pointer);
    if (value == nullptr) return HYPER_NOTFOUND;
    Json copy = *value;  // source and target may be the same document
    Json* const target = cell(doc->json, pointer);
    if (target == nullptr) return HYPER_FAIL;
    *target = std::move(copy);
    return HYPER_OK;
  });
}

void doc_free(hyper_doc* doc) noexcept {
  delete doc;
}

}  // namespace

std::optional<Json> parse_document(std::string_view text) {
  if (text.size() > kMostBytes) return std::nullopt;
  try {
    return Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
      if (depth > kMostDepth) throw TooDeep();
      return true;
    });
  } catch (const TooDeep&) {
    return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

void add_document_calls(hyper_host& table) {
  table.doc_get = doc_get;
  table.doc_key = doc_key;
  table.doc_emit = doc_emit;
  table.doc_parse = doc_parse;
  table.doc_new = doc_new;
  table.doc_set = doc_set;
  table.doc_copy = doc_copy;
  table.doc_free = doc_free;
}

}  // namespace hyperhost
