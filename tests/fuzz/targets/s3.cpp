// SPDX-License-Identifier: Apache-2.0
// The XML of S3's answers and the profiles of the AWS tools.
#include "plugins/http/headers.hpp"
#include "plugins/storage/s3/credentials.hpp"
#include "plugins/storage/s3/s3_xml.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const std::string text(fuzz::text_of(data, size));
  hyper::s3::parse_error(text);
  fuzz::accepts([&] { hyper::s3::parse_objects(text); });
  fuzz::accepts([&] { hyper::s3::complete_request(hyper::s3::parse_parts(text).parts, true); });
  fuzz::accepts([&] { hyper::s3::parse_uploads(text); });
  fuzz::accepts([&] { hyper::s3::parse_upload_id(text); });
  fuzz::accepts([&] { hyper::s3::parse_completed(text); });
  hyper::s3::parse_profile(text, "default", false);
  hyper::s3::parse_profile(text, "work", true);
  hyper::http::parse_content_range(text);
  hyper::http::Headers headers;
  headers.add("Retry-After", text);
  hyper::http::retry_after_ns(headers);
  return 0;
}
