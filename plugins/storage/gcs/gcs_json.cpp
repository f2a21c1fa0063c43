// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/gcs/gcs_json.hpp"

#include <charconv>

namespace hyper::gcs {

std::string text_or_number(const nlohmann::json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->is_number() ? found->dump() : "";
}

uint64_t number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw Error(HYPER_CORRUPT, "the server does not say how long an object is").retryable();
  return value;
}

object::ObjectInfo info_of(const nlohmann::json& document) {
  object::ObjectInfo out;
  out.key = text_or_number(document, "name");
  out.bytes = number(text_or_number(document, "size"));
  out.modified = text_or_number(document, "updated");
  out.etag = text_or_number(document, "generation");  // names the version exactly
  if (const std::string crc = text_or_number(document, "crc32c"); !crc.empty())
    out.checksum = "crc32c:" + crc;
  return out;
}

}  // namespace hyper::gcs
