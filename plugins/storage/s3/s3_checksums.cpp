// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_checksums.hpp"

#include <algorithm>

#include "plugins/storage/object/digest.hpp"

namespace hyper::s3 {

std::string without_quotes(std::string etag) {
  etag.erase(std::remove(etag.begin(), etag.end(), '"'), etag.end());
  return etag;
}

std::optional<std::string> md5_of(const std::string& etag) {
  const std::string plain = without_quotes(etag);
  return plain.size() == 32 ? object::from_hex(plain) : std::nullopt;
}

std::optional<std::string> composite_sha256(const object::Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) {
    const auto raw = object::from_base64(part.digest);
    if (!raw || raw->size() != 32) return std::nullopt;
    all += *raw;
  }
  return object::base64(object::sha256(all)) + "-" + std::to_string(parts.size());
}

std::optional<std::string> composite_etag(const object::Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) {
    const auto raw = md5_of(part.etag);
    if (!raw) return std::nullopt;
    all += *raw;
  }
  return object::hex(object::md5(all)) + "-" + std::to_string(parts.size());
}

bool is_composite_etag(const std::string& etag) {
  const std::string plain = without_quotes(etag);
  const std::size_t dash = plain.find('-');
  return dash == 32 && plain.size() > 33 && object::from_hex(plain.substr(0, dash)) &&
         plain.find_first_not_of("0123456789", dash + 1) == std::string::npos;
}

std::string shown_checksum(const std::string& sha256) {
  if (sha256.empty()) return {};
  if (sha256.find('-') != std::string::npos) return kOfParts + sha256;
  const auto raw = object::from_base64(sha256);
  return raw && raw->size() == 32 ? "sha256:" + object::hex(*raw) : std::string();
}

bool is_composite_checksum(const std::string& shown) {
  return shown.rfind(kOfParts, 0) == 0;
}

std::string with_part_count(const std::string& sha256, uint64_t parts) {
  if (sha256.empty() || sha256.find('-') != std::string::npos) return sha256;
  return sha256 + "-" + std::to_string(parts);
}

}  // namespace hyper::s3
