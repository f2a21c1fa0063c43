// SPDX-License-Identifier: Apache-2.0
// S3Service's uploads in parts.
#include <ctime>

#include "plugins/http/errors.hpp"
#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/s3/s3_checksums.hpp"
#include "plugins/storage/s3/s3_service.hpp"
#include "plugins/storage/s3/s3_xml.hpp"

namespace hyper::s3 {
namespace {

using nlohmann::json;
using object::Fields;

constexpr std::time_t kClockSkew = 15 * 60;  // what S3 itself allows between two clocks

std::string text_member(const json& upload, const char* name) {
  const auto found = upload.find(name);
  return found != upload.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string utc(std::time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return text;
}

}  // namespace

json S3Service::begin(Op op, const PutSpec& spec, const json&) {
  Call call{"POST", spec.key, {{"uploads", ""}}, object_headers(spec), {}};
  call.headers.emplace_back(std::string("x-amz-meta-") + kPartSize, std::to_string(spec.part_size));
  if (settings_.checksums) call.headers.emplace_back("x-amz-checksum-algorithm", "SHA256");
  const http::Response answer = ask(op, call, "cannot begin the upload of " + shown(spec.key));
  return {{"id", parse_upload_id(answer.body)}};
}

std::optional<Parts> S3Service::parts(Op op, const PutSpec& spec, const json& upload) {
  Parts all;
  std::string next;
  object::Pages pages;
  if (text_member(upload, "id").empty()) return std::nullopt;
  do {
    Fields query = {{"uploadId", text_member(upload, "id")}};
    if (!next.empty()) query.emplace_back("part-number-marker", next);
    const http::Response answer = send(op, {"GET", spec.key, query, {}, {}});
    if (answer.status == 404 && parse_error(answer.body).code == "NoSuchUpload")
      return std::nullopt;
    if (!answer.ok()) throw failure("cannot list the parts of " + shown(spec.key), answer);
    PartPage page = parse_parts(answer.body);
    all.merge(page.parts);
    pages.follow(page.next);
    next = page.next;
  } while (!next.empty());
  return all;
}

Part S3Service::put_part(Op op, const PutSpec& spec, const json& upload, uint64_t index,
                         std::string_view bytes) {
  const std::string sha256 = object::sha256(bytes);
  Call call{"PUT",
            spec.key,
            {{"partNumber", std::to_string(index + 1)}, {"uploadId", text_member(upload, "id")}},
            {},
            bytes,
            true};
  if (settings_.checksums)
    call.headers.emplace_back("x-amz-checksum-sha256", object::base64(sha256));
  const http::Response answer =
      ask(op, call, "cannot write part " + std::to_string(index + 1) + " of " + shown(spec.key),
          object::hex(sha256));
  Part part;
  part.bytes = bytes.size();
  part.etag = answer.headers.get("ETag");
  part.digest = settings_.checksums ? object::base64(sha256) : "";
  if (part.etag.empty())
    throw Error(HYPER_CORRUPT, "the server gives a part of " + shown(spec.key) + " no ETag")
        .retryable();
  const std::string kept = answer.headers.get("x-amz-checksum-sha256");
  if (!kept.empty() && kept != part.digest)
    throw Error(HYPER_CORRUPT,
                "a part of " + shown(spec.key) + " is not at the server what was sent")
        .retryable();
  return part;
}

std::string S3Service::zeros_key(const PutSpec& spec) const {
  return spec.key + ".hyperhost-part-zeros";
}

std::optional<Part> S3Service::copy_part(Op op, const PutSpec& spec, const json& upload,
                                         uint64_t index, const std::string& from,
                                         const Part& content) {
  Call call{"PUT",
            spec.key,
            {{"partNumber", std::to_string(index + 1)}, {"uploadId", text_member(upload, "id")}},
            {{"x-amz-copy-source", "/" + settings_.bucket + "/" + object::uri_encode(from, true)}},
            {}};
  const std::string what = "cannot copy part " + std::to_string(index + 1) + " of " +
                           shown(spec.key) + " inside the store";
  call.slow = true;
  const http::Response answer = send(op, call);
  if (!answer.ok() || !parse_error(answer.body).code.empty()) {
    const Error error = failure(what, answer);
    if (error.is_retryable()) throw error;
    return std::nullopt;
  }
  PartCopy copy;
  try {
    copy = parse_part_copy(answer.body);
  } catch (const Error&) {
    return std::nullopt;
  }
  const auto md5 = md5_of(copy.etag);
  const bool right = settings_.checksums ? copy.sha256 == content.digest
                                         : md5 && object::hex(*md5) == content.etag;
  if (!right) return std::nullopt;  // nothing proves what is there
  Part part = content;
  part.etag = copy.etag;
  return part;
}

Part S3Service::describe(std::string_view bytes) {
  Part part;
  part.bytes = bytes.size();
  if (settings_.checksums)
    part.digest = object::base64(object::sha256(bytes));
  else
    part.etag = object::hex(object::md5(bytes));
  return part;
}

bool S3Service::same(const Part& part, std::string_view bytes) {
  if (!part.digest.empty()) return part.digest == object::base64(object::sha256(bytes));
  const auto md5 = md5_of(part.etag);
  return md5 && *md5 == object::md5(bytes);
}

bool S3Service::made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) {
  if (object.bytes != length) return false;
  const auto sha256 = composite_sha256(parts);
  if (sha256 && is_composite_checksum(object.checksum))
    return object.checksum == kOfParts + *sha256;
  const auto etag = composite_etag(parts);
  return etag && without_quotes(object.etag) == *etag;
}

/// Some stores keep no checksum of the whole, and its ETag is not that of its parts.
bool S3Service::describes_content(const ObjectInfo& object) const {
  return is_composite_checksum(object.checksum) || is_composite_etag(object.etag);
}

ObjectInfo S3Service::finish(Op op, const PutSpec& spec, const json& upload, const Parts& parts,
                             uint64_t length) {
  const std::string body = complete_request(parts, settings_.checksums);
  Call call{"POST", spec.key, {{"uploadId", text_member(upload, "id")}}, {}, body};
  call.slow = true;
  call.headers.emplace_back("Content-Type", "application/xml");
  const bool conditional = !spec.overwrite && conditional_;
  if (conditional) call.headers.emplace_back("If-None-Match", "*");
  const std::string what = "cannot complete " + shown(spec.key);
  const http::Response answer = send(op, call);
  if (answer.status == 501 && conditional) {
    conditional_ = false;
    return finish(op, spec, upload, parts, length);
  }
  if (answer.status == 412) throw Error(HYPER_EXISTS, shown(spec.key) + " exists").native(412);
  // The answer begins before the work is done: a 200 may end as an error.
  if (!answer.ok() || !parse_error(answer.body).code.empty()) throw failure(what, answer);
  const auto completed = parse_completed(answer.body);
  const std::string& etag = completed.first;
  const auto want_sha256 = composite_sha256(parts);
  std::string sha256 = completed.second;
  if (sha256.find('-') == std::string::npos) {  // of another kind, then the ETag has to do
    sha256 = with_part_count(sha256, parts.size());
    if (sha256 != want_sha256) sha256.clear();
  }
  ObjectInfo out;
  out.key = spec.key;
  out.bytes = length;
  out.etag = etag;
  out.checksum = shown_checksum(sha256);
  const auto want_etag = composite_etag(parts);
  const bool encrypted_otherwise = !answer.headers.get("x-amz-server-side-encryption").empty();
  const bool wrong_sha256 = !sha256.empty() && want_sha256 && sha256 != *want_sha256;
  const bool wrong_etag = sha256.empty() && !encrypted_otherwise && want_etag &&
                          is_composite_etag(etag) && without_quotes(etag) != *want_etag;
  if (wrong_sha256 || wrong_etag) {
    remove_made(op, spec.key, answer);
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent",
                "its checksum is " + (wrong_sha256 ? sha256 : etag) + " instead of " +
                    (wrong_sha256 ? *want_sha256 : *want_etag));
  }
  if (out.checksum.empty() && settings_.checksums && want_sha256)
    out.checksum = kOfParts + *want_sha256;
  return out;
}

void S3Service::abort_unnamed(Op op, const std::string& key, const std::string& began) {
  std::tm parts{};
  if (::strptime(began.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) return;
  const std::string earliest = utc(::timegm(&parts) - kClockSkew);
  std::string next_key, next_id;
  object::Pages pages;
  do {
    Fields query = {{"uploads", ""}, {"prefix", key}};
    if (!next_key.empty()) {
      query.emplace_back("key-marker", next_key);
      query.emplace_back("upload-id-marker", next_id);
    }
    const UploadPage page = parse_uploads(
        ask(op, {"GET", "", query, {}, {}}, "cannot list the unfinished uploads of " + shown(key))
            .body);
    for (const auto& upload : page.uploads)
      if (upload.key == key && upload.initiated.substr(0, earliest.size()) >= earliest)
        abort(op, key, {{"id", upload.id}}, began);
    if (!page.next_key.empty()) pages.follow(page.next_key + "\n" + page.next_id);
    next_key = page.next_key;
    next_id = page.next_id;
  } while (!next_key.empty());
}

/// As often as the key is there: tries of one request may each have made a version.
void S3Service::remove_all_versions(Op op, const std::string& key) {
  constexpr int kMost = 100;
  for (int i = 0; i < kMost; ++i) {
    const http::Response there = send(op, {"HEAD", key, {}, {}, {}});
    if (there.status == 404) return;
    if (!there.ok()) throw failure("cannot look at " + shown(key), there);
    remove_made(op, key, there);
  }
}

void S3Service::abort(Op op, const std::string& key, const json& upload, const std::string& began) {
  const std::string id = upload.is_object() ? text_member(upload, "id") : std::string();
  if (id.empty()) return abort_unnamed(op, key, began);
  const http::Response answer = send(op, {"DELETE", key, {{"uploadId", id}}, {}, {}});
  if (!answer.ok()) {
    const Error error = failure("cannot abort the upload of " + shown(key), answer);
    if (error.status() != HYPER_NOTFOUND || parse_error(answer.body).code == "NoSuchBucket")
      throw error;
  }
  const std::string zeros = text_member(upload, "zeros");
  if (!zeros.empty()) remove_all_versions(op, zeros);
}

}  // namespace hyper::s3
