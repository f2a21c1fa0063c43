// SPDX-License-Identifier: Apache-2.0
// The checksums that S3 keeps of objects and of their parts: SHA-256, and the MD5 in an ETag.
// Stateless.
#ifndef HYPERHOST_S3_S3_CHECKSUMS_HPP
#define HYPERHOST_S3_S3_CHECKSUMS_HPP

#include <optional>
#include <string>

#include "plugins/storage/object/service.hpp"

namespace hyper::s3 {

/// Metadata of an object made of parts: by it a rerun recognises its own.
constexpr const char* kPartSize = "hyperhost-part-size";

/// In front of a composite SHA-256, as it is shown.
constexpr const char* kOfParts = "sha256-parts:";

std::string without_quotes(std::string etag);
/// The MD5 in the ETag of a part; nothing if the ETag is something else.
std::optional<std::string> md5_of(const std::string& etag);
/// S3's SHA-256 of an object made of parts; nothing if a part has none.
std::optional<std::string> composite_sha256(const object::Parts& parts);
/// S3's ETag of an object made of parts; nothing if a part's ETag is not an MD5.
std::optional<std::string> composite_etag(const object::Parts& parts);
/// Whether it has the form of S3's ETag of an object made of parts: an MD5 and their number.
bool is_composite_etag(const std::string& etag);
/// "sha256:<hex>" for the checksum of a whole object, "sha256-parts:<base64>-N" for a composite
/// one.
std::string shown_checksum(const std::string& sha256);
bool is_composite_checksum(const std::string& shown);
/// S3's SHA-256 of an object made of so many parts. Not every server writes the "-N" behind it.
std::string with_part_count(const std::string& sha256, uint64_t parts);

}  // namespace hyper::s3

#endif
