// SPDX-License-Identifier: Apache-2.0
// What S3's ETags and SHA-256 checksums say of parts and of the objects made of them. Pure
// functions.
#ifndef HYPERHOST_S3_S3_CHECKSUMS_HPP
#define HYPERHOST_S3_S3_CHECKSUMS_HPP

#include <optional>
#include <string>

#include "plugins/storage/object/service.hpp"

namespace hyper::s3 {

/// Metadata of an object made of parts: by it a rerun recognises its own.
constexpr const char* kPartSize = "hyperhost-part-size";

std::string without_quotes(std::string etag);
/// The MD5 that an ETag of a part is, where it is one.
std::optional<std::string> md5_of(const std::string& etag);
/// S3's checksum of an object made of parts; nothing where a part has none.
std::optional<std::string> composite_sha256(const object::Parts& parts);
std::optional<std::string> composite_etag(const object::Parts& parts);
/// "sha256:<hex>" of a whole object's checksum, "sha256-parts:<base64>-N" of a composite one.
std::string shown_checksum(const std::string& sha256);
/// S3's SHA-256 of an object made of so many parts: not every server writes the "-N" behind it.
std::string with_part_count(const std::string& sha256, uint64_t parts);

}  // namespace hyper::s3

#endif
