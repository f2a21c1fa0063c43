// SPDX-License-Identifier: Apache-2.0
// The digests, encodings and keyed hashes that object stores ask for, over OpenSSL. Values are raw
// bytes in strings unless a name says hex or base64. Pure functions; any thread.
#ifndef HYPERHOST_OBJECT_DIGEST_HPP
#define HYPERHOST_OBJECT_DIGEST_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hyper::object {

std::string sha256(std::string_view bytes);
std::string md5(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);
/// CRC-32C (Castagnoli) of `bytes` appended to what has the CRC `before`.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);
/// The CRC-32C of A followed by B from those of A and of B, which has `length_of_b` bytes.
uint32_t crc32c_combine(uint32_t of_a, uint32_t of_b, uint64_t length_of_b);
/// As GCS writes it: base64 of the four bytes, most significant first.
std::string crc32c_base64(uint32_t crc);

std::string hex(std::string_view bytes);
/// Nothing where it is not an even number of hex digits.
std::optional<std::string> from_hex(std::string_view text);
std::string base64(std::string_view bytes);
/// Base64 for URLs (RFC 4648, section 5), without padding.
std::string base64url(std::string_view bytes);
/// Nothing where it is not base64.
std::optional<std::string> from_base64(std::string_view text);

/// RFC 3986: everything but unreserved characters as %XX; '/' stays where keep_slash.
std::string uri_encode(std::string_view text, bool keep_slash);

/// `bytes` random bytes from OpenSSL, in hex.
std::string random_hex(std::size_t bytes);

}  // namespace hyper::object

#endif
