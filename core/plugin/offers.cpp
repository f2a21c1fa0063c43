// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/offers.hpp"

#include <hyper/hyper.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

// Far above any real manifest. They bound the work of a scan and a detection for a hostile one.
constexpr std::size_t kMaxEntries = 64, kMaxNames = 16, kMaxSignatureBytes = 64;
constexpr int64_t kMaxOffset = 1 << 20;
constexpr int64_t kMaxPreference = 1000;

/// Throws an error whose text begins "its manifest's …". read_offers catches it.
[[noreturn]] void wrong(const std::string& where, const std::string& what) {
  throw Error(Code::kConfig, "its manifest's " + where + " " + what);
}

const json* member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

const json& list_of(const json& value, const std::string& where, std::size_t most) {
  if (!value.is_array()) wrong(where, "is not a list");
  if (value.size() > most) wrong(where, "has more than " + std::to_string(most) + " entries");
  return value;
}

const json& object_of(const json& value, const std::string& where) {
  if (!value.is_object()) wrong(where, "is not an object");
  return value;
}

std::string text_like(const json& value, const std::string& where, const std::regex& pattern,
                      const char* form) {
  // The length first: std::regex recurses for every character.
  constexpr std::size_t kLongest = 128;
  if (!value.is_string() || value.get_ref<const std::string&>().size() > kLongest ||
      !std::regex_match(value.get_ref<const std::string&>(), pattern))
    wrong(where, std::string("is not ") + form);
  return value.get<std::string>();
}

/// A whole number from -most to most.
std::optional<int64_t> whole(const json& value, int64_t most) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(most))
    return std::nullopt;
  const auto number = value.get<int64_t>();
  return number < -most || number > most ? std::nullopt : std::optional(number);
}

bool flag(const json& object, const char* name, const std::string& where) {
  const json* value = member(object, name);
  if (value == nullptr) return false;
  if (!value->is_boolean()) wrong(where + "/" + name, "is not true or false");
  return value->get<bool>();
}

std::vector<std::string> texts(const json& object, const char* name, const std::string& where,
                               const std::regex& pattern, const char* form) {
  std::vector<std::string> out;
  const json* values = member(object, name);
  if (values == nullptr) return out;
  const std::string at = where + "/" + name;
  for (const json& one : list_of(*values, at, kMaxNames))
    out.push_back(text_like(one, at + "/" + std::to_string(out.size()), pattern, form));
  return out;
}

FormatSignature signature(const json& value, const std::string& where) {
  static const std::regex hex("^([0-9a-f]{2}){1,64}$", std::regex::optimize);
  object_of(value, where);
  FormatSignature out;
  if (const json* offset = member(value, "offset")) {
    const std::optional<int64_t> number = whole(*offset, kMaxOffset);
    if (!number) wrong(where + "/offset", "is not a whole number from -1 MiB to 1 MiB");
    out.offset = *number;
  }
  const json* bytes = member(value, "hex");
  if (bytes == nullptr) wrong(where, "has no hex");
  const std::string digits =
      text_like(*bytes, where + "/hex", hex, "1 to 64 bytes as lower-case hex digits");
  for (std::size_t i = 0; i < digits.size(); i += 2)
    out.bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  static_assert(kMaxSignatureBytes == 64, "the pattern says the same");
  if (out.offset < 0 && -out.offset < static_cast<int64_t>(out.bytes.size()))
    wrong(where, "reaches beyond the end of the file");
  return out;
}

ImageFormat format(const json& value, const std::string& where) {
  static const std::regex name_pattern("^[a-z][a-z0-9_-]{0,14}$");
  static const std::regex extension_pattern("^\\.[a-z0-9][a-z0-9_-]{0,15}$");
  constexpr const char* name_form = "of the form a-z, 0-9, '_', '-', at most 15 characters";
  object_of(value, where);
  ImageFormat out;
  const json* name = member(value, "name");
  if (name == nullptr) wrong(where, "has no name");
  out.name = text_like(*name, where + "/name", name_pattern, name_form);
  out.aliases = texts(value, "aliases", where, name_pattern, name_form);
  out.read = flag(value, "read", where);
  out.write = flag(value, "write", where);
  if (!out.read && !out.write) wrong(where, "is neither read nor written");
  out.extensions =
      texts(value, "extensions", where, extension_pattern, "of the form .a-z0-9, in lower case");
  if (out.extensions.empty()) out.extensions.push_back("." + out.name);
  if (const json* signatures = member(value, "signatures")) {
    const std::string at = where + "/signatures";
    for (const json& one : list_of(*signatures, at, kMaxNames))
      out.signatures.push_back(signature(one, at + "/" + std::to_string(out.signatures.size())));
  }
  return out;
}

void read_formats(const json& manifest, Offers& out) {
  const json* formats = member(manifest, "formats");
  if (formats == nullptr) return;
  out.formats.emplace();
  std::set<std::string> names, extensions;
  for (const json& one : list_of(*formats, "formats", kMaxEntries)) {
    const std::string at = "formats/" + std::to_string(out.formats->size());
    ImageFormat made = format(one, at);
    std::vector<std::string> own = made.aliases;
    own.push_back(made.name);
    for (const std::string& name : own)
      if (!names.insert(name).second) wrong(at, "gives the name '" + name + "' a second time");
    for (const std::string& extension : made.extensions)
      if (!extensions.insert(extension).second)
        wrong(at, "gives the extension '" + extension + "' a second time");
    out.formats->push_back(std::move(made));
  }
}

Destination destination(const json& value, const std::string& where) {
  static const std::regex scheme_pattern("^[a-z][a-z0-9+.-]{0,31}$");
  static const std::regex pointer_pattern("^(/[A-Za-z0-9_.-]{1,64}){1,4}$");
  object_of(value, where);
  Destination out;
  const json* scheme = member(value, "scheme");
  if (scheme == nullptr) wrong(where, "has no scheme");
  out.scheme = text_like(*scheme, where + "/scheme", scheme_pattern,
                         "a URL scheme in lower case, at most 32 characters");
  const std::pair<const char*, std::string*> parts[] = {
      {"host", &out.host}, {"port", &out.port}, {"path", &out.path}};
  std::set<std::string> used;
  for (const auto& [part, into] : parts) {
    const json* pointer = member(value, part);
    if (pointer == nullptr) continue;
    *into = text_like(*pointer, where + "/" + part, pointer_pattern,
                      "a JSON Pointer to one of its options");
    if (!used.insert(*into).second) wrong(where, "puts two parts into " + *into);
  }
  if (used.empty()) wrong(where, "says of no part of the URL which option it becomes");
  if (!out.port.empty() && out.host.empty()) wrong(where, "has a port and no host");
  out.absolute_path = flag(value, "absolute_path", where);
  static const std::regex form_pattern("^[\\x21-\\x7e]{1,128}$");
  if (const json* form = member(value, "form"))
    out.form = text_like(*form, where + "/form", form_pattern, "printable ASCII without spaces");
  if (out.form.empty())
    out.form = out.scheme + "://" + (out.host.empty() ? "" : "HOST") +
               (out.port.empty() ? "" : ":PORT") + (out.path.empty() ? "" : "/PATH");
  if (out.form.rfind(out.scheme + "://", 0) != 0)
    wrong(where + "/form", "does not begin with " + out.scheme + "://");
  return out;
}

void read_destinations(const json& manifest, Offers& out) {
  const json* destinations = member(manifest, "destinations");
  if (destinations == nullptr) return;
  std::set<std::string> schemes;
  for (const json& one : list_of(*destinations, "destinations", kMaxEntries)) {
    const std::string at = "destinations/" + std::to_string(out.destinations.size());
    Destination made = destination(one, at);
    if (!schemes.insert(made.scheme).second)
      wrong(at, "gives the scheme '" + made.scheme + "' a second time");
    out.destinations.push_back(std::move(made));
  }
}

void read_preference(const json& manifest, Offers& out) {
  const json* preference = member(manifest, "preference");
  if (preference == nullptr) return;
  object_of(*preference, "preference");
  if (preference->size() > kMaxEntries) wrong("preference", "has too many members");
  for (const auto& [iface, value] : preference->items()) {
    const std::optional<int64_t> number = whole(value, kMaxPreference);
    if (!number) wrong("preference", "has a member that is not a whole number from -1000 to 1000");
    out.preference[iface] = static_cast<int>(*number);
  }
}

/// Each offer needs the interface that serves it.
void check_interfaces(const json& manifest, const Offers& offers) {
  const json* interfaces = member(manifest, "interfaces");
  const auto has = [&](const char* iface) {
    return interfaces != nullptr && interfaces->is_array() &&
           std::find(interfaces->begin(), interfaces->end(), iface) != interfaces->end();
  };
  const bool image = has(HYPER_IFACE_IMAGE), converter = has(HYPER_IFACE_CONVERTER);
  for (const ImageFormat& one : offers.formats.value_or(std::vector<ImageFormat>{})) {
    if (one.read && !image && !converter)
      wrong("formats", "list '" + one.name + "' as read, and it offers neither " +
                           HYPER_IFACE_IMAGE + " nor " + HYPER_IFACE_CONVERTER);
    if (one.write && !converter)
      wrong("formats",
            "list '" + one.name + "' as written, and it does not offer " + HYPER_IFACE_CONVERTER);
  }
  if (!offers.destinations.empty() && !has(HYPER_IFACE_STORAGE))
    wrong("destinations", std::string("need ") + HYPER_IFACE_STORAGE + ", which it does not offer");
}

}  // namespace

bool ImageFormat::is(const std::string& format) const {
  return name == format || std::find(aliases.begin(), aliases.end(), format) != aliases.end();
}

const ImageFormat* Offers::format(const std::string& name) const {
  if (!formats) return nullptr;
  const auto found = std::find_if(formats->begin(), formats->end(),
                                  [&](const ImageFormat& one) { return one.is(name); });
  return found == formats->end() ? nullptr : &*found;
}

std::optional<bool> Offers::reads(const std::string& name) const {
  if (!formats) return std::nullopt;
  const ImageFormat* found = format(name);
  return found != nullptr && found->read;
}

std::optional<bool> Offers::writes(const std::string& name) const {
  if (!formats) return std::nullopt;
  const ImageFormat* found = format(name);
  return found != nullptr && found->write;
}

const Destination* Offers::destination(const std::string& scheme) const {
  const auto found = std::find_if(destinations.begin(), destinations.end(),
                                  [&](const Destination& one) { return one.scheme == scheme; });
  return found == destinations.end() ? nullptr : &*found;
}

int Offers::preference_of(const std::string& iface) const {
  const auto found = preference.find(iface);
  return found == preference.end() ? 0 : found->second;
}

std::string read_offers(const nlohmann::json& manifest, Offers& out) {
  out = {};
  try {
    read_formats(manifest, out);
    read_destinations(manifest, out);
    read_preference(manifest, out);
    check_interfaces(manifest, out);
  } catch (const Error& failure) {
    out = {};
    return failure.diagnostic().summary;
  }
  return {};
}

}  // namespace hyperhost
