// SPDX-License-Identifier: Apache-2.0
// The XML of S3's requests and answers. Pure functions.
#ifndef HYPERHOST_S3_S3_XML_HPP
#define HYPERHOST_S3_S3_XML_HPP

#include <string>
#include <vector>

#include "plugins/storage/object/service.hpp"

namespace hyper::s3 {

struct S3Error {
  std::string code, message, region;
};
/// Members are "" where the text is no S3 error.
S3Error parse_error(const std::string& text);

struct ObjectPage {
  std::vector<object::ObjectInfo> objects;
  std::string next;  ///< continuation token; "" = the end
};
struct PartPage {
  object::Parts parts;
  std::string next;  ///< part-number marker; "" = the end
};
struct UploadPage {
  struct Upload {
    std::string key, id, initiated;
  };
  std::vector<Upload> uploads;
  std::string next_key, next_id;  ///< "" = the end
};

/// A part that the server made of another object.
struct PartCopy {
  std::string etag, sha256;
};

// Each throws HYPER_CORRUPT for a text that is no such answer. Asking again would bring the same.
ObjectPage parse_objects(const std::string& text);
PartPage parse_parts(const std::string& text);
UploadPage parse_uploads(const std::string& text);
std::string parse_upload_id(const std::string& text);
PartCopy parse_part_copy(const std::string& text);
/// The ETag and, where the server has one, the SHA-256 checksum of a completed upload.
std::pair<std::string, std::string> parse_completed(const std::string& text);

/// The body that completes an upload.
std::string complete_request(const object::Parts& parts, bool checksums);

}  // namespace hyper::s3

#endif
