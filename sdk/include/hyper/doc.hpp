// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: JSON documents without a JSON library. Doc reads a document that another
// side owns (options, a request), or a part of it. DocBuilder owns a document and writes it. Both
// work through the host's table. A Doc is valid for the call that received it. Only one thread may
// write a DocBuilder.
#ifndef HYPER_DOC_HPP
#define HYPER_DOC_HPP

#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>

#include "error.hpp"

namespace hyper {

/// The host's services. Set before start() runs.
inline const hyper_host& host() {
  return *detail::host_slot();
}

namespace detail {
template <class F>
hyper_st emit_to(void* arg, const char* json, uint64_t len) noexcept {
  try {
    (*static_cast<F*>(arg))(std::string(json, static_cast<std::size_t>(len)));
    return HYPER_OK;
  } catch (...) {
    return HYPER_FAIL;
  }
}
}  // namespace detail

/// A document, or the part of one at a pointer. Pointers are JSON Pointers (RFC 6901), e.g.
/// "/tls/ca_file", relative to that part. A value of another type reads as if it were missing.
class Doc {
 public:
  Doc() = default;
  explicit Doc(const hyper_doc* doc, std::string at = {}) : doc_(doc), at_(std::move(at)) {}
  const hyper_doc* raw() const { return doc_; }
  /// The place of this part in its document, for Error::at().
  const std::string& pointer() const { return at_; }

  bool has(const std::string& pointer) const {
    hyper_val value = make();
    return get(pointer, value);
  }
  /// True if the value exists and is null.
  bool is_null(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_NULL); }
  bool is_string(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_STRING); }
  bool is_integer(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_INT); }
  bool is_boolean(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_BOOL); }
  bool is_array(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_ARRAY); }
  bool is_object(const std::string& pointer = {}) const { return is(pointer, HYPER_VAL_OBJECT); }

  std::string string(const std::string& pointer = {}, std::string otherwise = {}) const {
    hyper_val value = make();
    if (!get(pointer, value) || value.type != HYPER_VAL_STRING) return otherwise;
    return std::string(value.str, static_cast<std::size_t>(value.len));
  }
  int64_t integer(const std::string& pointer = {}, int64_t otherwise = 0) const {
    hyper_val value = make();
    return get(pointer, value) && value.type == HYPER_VAL_INT ? value.i64 : otherwise;
  }
  double number(const std::string& pointer = {}, double otherwise = 0) const {
    hyper_val value = make();
    if (!get(pointer, value)) return otherwise;
    return value.type == HYPER_VAL_INT || value.type == HYPER_VAL_FLOAT ? value.f64 : otherwise;
  }
  bool boolean(const std::string& pointer = {}, bool otherwise = false) const {
    hyper_val value = make();
    return get(pointer, value) && value.type == HYPER_VAL_BOOL ? value.i64 != 0 : otherwise;
  }
  /// The number of elements of an array or members of an object; 0 for any other value.
  uint64_t size(const std::string& pointer = {}) const {
    hyper_val value = make();
    if (!get(pointer, value)) return 0;
    return value.type == HYPER_VAL_ARRAY || value.type == HYPER_VAL_OBJECT ? value.len : 0;
  }
  /// A required member: a string, or an integer that is not negative. Throws HYPER_CONFIG with the
  /// pointer if it is missing or of another type.
  std::string need_string(const std::string& pointer) const {
    if (!is_string(pointer)) throw missing(pointer, "a string");
    return string(pointer);
  }
  uint64_t need_size(const std::string& pointer) const {
    const int64_t value = integer(pointer, -1);
    if (value < 0) throw missing(pointer, "an integer that is not negative");
    return static_cast<uint64_t>(value);
  }

  /// The part at a pointer, which need not exist.
  Doc at(const std::string& pointer) const { return Doc(doc_, at_ + pointer); }
  /// f(Doc element) for each element of the array at a pointer.
  template <class F>
  void each(const std::string& pointer, F&& f) const {
    const uint64_t count = is_array(pointer) ? size(pointer) : 0;
    for (uint64_t i = 0; i < count; ++i) f(at(pointer + "/" + std::to_string(i)));
  }
  /// f(std::string key, Doc value) for each member of the object at a pointer.
  template <class F>
  void each_member(const std::string& pointer, F&& f) const {
    hyper_val key = make();
    const std::string object = at_ + pointer;
    for (uint64_t i = 0;
         doc_ != nullptr && host().doc_key(doc_, object.c_str(), i, &key) == HYPER_OK; ++i) {
      const std::string name(key.str, static_cast<std::size_t>(key.len));
      f(name, Doc(doc_, object + "/" + escaped(name)));
      key = make();
    }
  }
  /// The value as JSON text; "" if there is none. Options contain resolved secrets.
  std::string json(const std::string& pointer = {}) const {
    std::string text;
    auto take = [&](std::string part) { text = std::move(part); };
    if (doc_ != nullptr)
      static_cast<void>(
          host().doc_emit(doc_, (at_ + pointer).c_str(), &detail::emit_to<decltype(take)>, &take));
    return text;
  }

  /// A key, escaped for use in a pointer.
  static std::string escaped(const std::string& key) {
    std::string out;
    for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return out;
  }

 private:
  static hyper_val make() {
    hyper_val value{};
    value.size = sizeof value;
    return value;
  }
  bool get(const std::string& pointer, hyper_val& value) const {
    return doc_ != nullptr && host().doc_get(doc_, (at_ + pointer).c_str(), &value) == HYPER_OK;
  }
  bool is(const std::string& pointer, int32_t type) const {
    hyper_val value = make();
    return get(pointer, value) && value.type == type;
  }
  Error missing(const std::string& pointer, const char* what) const {
    Error error(HYPER_CONFIG, "'" + at_ + pointer + "' must be " + what);
    error.at(at_ + pointer);
    return error;
  }
  const hyper_doc* doc_ = nullptr;
  std::string at_;
};

/// A document that this object owns:
/// `DocBuilder().set("/format", "acme").set("/virtual_size", n).json()`.
class DocBuilder {
 public:
  DocBuilder() : doc_(host().doc_new()) {
    if (doc_ == nullptr) throw std::bad_alloc();
  }
  /// Throws HYPER_CORRUPT if the text is not a JSON document.
  static DocBuilder parse(const std::string& text) {
    hyper_doc* parsed = nullptr;
    if (host().doc_parse(text.data(), text.size(), &parsed) != HYPER_OK)
      throw Error(HYPER_CORRUPT, "a text is no JSON document");
    return DocBuilder(parsed);
  }
  ~DocBuilder() {
    if (doc_ != nullptr) host().doc_free(doc_);
  }
  DocBuilder(DocBuilder&& other) noexcept : doc_(std::exchange(other.doc_, nullptr)) {}
  DocBuilder& operator=(DocBuilder&& other) noexcept { return std::swap(doc_, other.doc_), *this; }
  DocBuilder(const DocBuilder&) = delete;
  DocBuilder& operator=(const DocBuilder&) = delete;

  /// Writes a string, a number, a boolean or (nullptr) null. A last part "-" appends to an array.
  /// Missing parts of the pointer are made.
  DocBuilder& set(const std::string& pointer, const std::string& text) {
    hyper_val value = of(HYPER_VAL_STRING);
    value.str = text.data();
    value.len = text.size();
    return put(pointer, value);
  }
  DocBuilder& set(const std::string& pointer, const char* text) {
    return set(pointer, std::string(text));
  }
  DocBuilder& set(const std::string& pointer, std::nullptr_t) {
    return put(pointer, of(HYPER_VAL_NULL));
  }
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  DocBuilder& set(const std::string& pointer, T number) {
    hyper_val value = of(std::is_same_v<T, bool>       ? HYPER_VAL_BOOL
                         : std::is_floating_point_v<T> ? HYPER_VAL_FLOAT
                                                       : HYPER_VAL_INT);
    value.f64 = static_cast<double>(number);
    value.i64 = static_cast<int64_t>(number);
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(int64_t))
      if (number > static_cast<T>(INT64_MAX)) value.type = HYPER_VAL_FLOAT;
    return put(pointer, value);
  }
  DocBuilder& set(const std::string& pointer, const Doc& from) {
    return done(pointer,
                host().doc_copy(doc_, pointer.c_str(), from.raw(), from.pointer().c_str()));
  }
  DocBuilder& set(const std::string& pointer, const DocBuilder& from) {
    return set(pointer, from.doc());
  }
  DocBuilder& set(const std::string& pointer, std::initializer_list<const char*> texts) {
    array(pointer);
    for (const char* text : texts) append(pointer, text);
    return *this;
  }
  /// Appends to the array at a pointer.
  template <class T>
  DocBuilder& append(const std::string& pointer, const T& value) {
    return set(pointer + "/-", value);
  }
  /// Writes an empty array or object.
  DocBuilder& array(const std::string& pointer) { return put(pointer, of(HYPER_VAL_ARRAY)); }
  DocBuilder& object(const std::string& pointer) { return put(pointer, of(HYPER_VAL_OBJECT)); }

  Doc doc() const { return Doc(doc_); }
  operator Doc() const { return doc(); }  // NOLINT(google-explicit-constructor): reads as one
  const hyper_doc* raw() const { return doc_; }
  std::string json() const { return doc().json(); }

 private:
  explicit DocBuilder(hyper_doc* doc) : doc_(doc) {}
  static hyper_val of(int32_t type) {
    hyper_val value{};
    value.size = sizeof value;
    value.type = type;
    return value;
  }
  DocBuilder& put(const std::string& pointer, const hyper_val& value) {
    return done(pointer, host().doc_set(doc_, pointer.c_str(), &value));
  }
  DocBuilder& done(const std::string& pointer, hyper_st status) {
    if (status != HYPER_OK)
      throw Error(HYPER_FAIL, "a document cannot be written at '" + pointer + "'").at(pointer);
    return *this;
  }
  hyper_doc* doc_;
};

namespace detail {
/// Whether `pointer` is in the list or leads to an entry of it. "/a/*" stands for everything
/// beneath /a.
inline bool is_known(const std::string& pointer, std::initializer_list<const char*> known) {
  for (const std::string one : known) {
    if (one == pointer || one.compare(0, pointer.size() + 1, pointer + "/") == 0) return true;
    if (one.size() > 2 && one.compare(one.size() - 2, 2, "/*") == 0 &&
        pointer.compare(0, one.size() - 1, one, 0, one.size() - 1) == 0)
      return true;
  }
  return false;
}

/// Throws HYPER_UNSUPPORTED if the request's must_understand names a member that is neither in the
/// list `known` nor known to the plugin, `more(pointer)`.
template <class F>
void check_understood(const Doc& request, std::initializer_list<const char*> known, F&& more) {
  const std::string list = "/must_understand";
  if (!request.has(list)) return;
  request.each(list, [&](const Doc& entry) {
    const std::string pointer = entry.string();
    if (!is_known(pointer, known) && !more(pointer))
      throw Error(HYPER_UNSUPPORTED, "the request has a member that this plugin does not know",
                  pointer)
          .at(pointer);
  });
}
}  // namespace detail
}  // namespace hyper

#endif
