// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_service.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "plugins/http/errors.hpp"
#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/s3/s3_xml.hpp"

namespace hyper::s3 {
namespace {

using nlohmann::json;
using object::Fields;

constexpr const char* kPartSize = "hyperhost-part-size";  // metadata: by it a rerun knows its own
constexpr std::time_t kClockSkew = 15 * 60;  // what S3 itself allows between two clocks
const std::string kEmptySha256 = object::hex(object::sha256(""));

std::string without_quotes(std::string etag) {
  etag.erase(std::remove(etag.begin(), etag.end(), '"'), etag.end());
  return etag;
}

/// The MD5 that an ETag of a part is, where it is one.
std::optional<std::string> md5_of(const std::string& etag) {
  const std::string plain = without_quotes(etag);
  return plain.size() == 32 ? object::from_hex(plain) : std::nullopt;
}

/// S3's checksum of an object made of parts; nothing where a part has none.
std::optional<std::string> composite_sha256(const Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) {
    const auto raw = object::from_base64(part.digest);
    if (!raw || raw->size() != 32) return std::nullopt;
    all += *raw;
  }
  return object::base64(object::sha256(all)) + "-" + std::to_string(parts.size());
}

std::optional<std::string> composite_etag(const Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) {
    const auto raw = md5_of(part.etag);
    if (!raw) return std::nullopt;
    all += *raw;
  }
  return object::hex(object::md5(all)) + "-" + std::to_string(parts.size());
}

/// "sha256:<hex>" of a whole object's checksum, "sha256-parts:<base64>-N" of a composite one.
std::string shown_checksum(const std::string& sha256) {
  if (sha256.empty()) return {};
  if (sha256.find('-') != std::string::npos) return "sha256-parts:" + sha256;
  const auto raw = object::from_base64(sha256);
  return raw && raw->size() == 32 ? "sha256:" + object::hex(*raw) : std::string();
}

uint64_t length_of(const http::Headers& headers) {
  const std::string text = headers.get("Content-Length");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw Error(HYPER_CORRUPT, "the server does not say how long an object is").retryable();
  return value;
}

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

S3Service::S3Service(Settings settings, std::shared_ptr<CredentialChain> credentials)
    : settings_(std::move(settings)),
      credentials_(std::move(credentials)),
      client_(settings_.http) {
  const std::size_t host = settings_.endpoint.find("://") + 3;
  const std::size_t path = std::min(settings_.endpoint.find('/', host), settings_.endpoint.size());
  host_ = settings_.endpoint.substr(host, path - host);
  base_path_ = settings_.endpoint.substr(path);
  while (!base_path_.empty() && base_path_.back() == '/') base_path_.pop_back();
  if (settings_.path_style)
    base_path_ += "/" + settings_.bucket;
  else
    host_ = settings_.bucket + "." + host_;
}

std::string S3Service::where() const {
  return settings_.endpoint + "/" + settings_.bucket;
}

std::string S3Service::location(const std::string& key) const {
  return settings_.scheme + "://" + settings_.bucket + "/" + key;
}

std::string S3Service::shown(const std::string& key) const {
  return key.empty() ? "the bucket '" + settings_.bucket + "'" : location(key);
}

Limits S3Service::limits() const {
  Limits limits;
  limits.min_part = uint64_t{5} << 20;
  limits.max_part = uint64_t{5} << 30;
  limits.max_parts = 10000;
  limits.max_object = settings_.max_object;
  return limits;
}

http::Request S3Service::request(const Call& call, const AwsCredentials& credentials,
                                 const std::string& payload_sha256) const {
  http::Request out;
  out.method = call.method;
  const std::string path = base_path_ + (settings_.path_style && call.key.empty() ? "" : "/") +
                           object::uri_encode(call.key, true);
  const std::string scheme = settings_.endpoint.substr(0, settings_.endpoint.find("://") + 3);
  out.url = scheme + host_ + path;
  if (!call.query.empty()) out.url += "?" + object::encoded_query(call.query);
  out.headers = call.headers;
  if (credentials.access_key.empty()) return out;
  object::ToSign to_sign;
  to_sign.method = call.method;
  to_sign.host = host_;
  to_sign.path = path;
  to_sign.query = call.query;
  to_sign.headers = call.headers;
  to_sign.payload_sha256 = payload_sha256;
  to_sign.time = std::time(nullptr);
  to_sign.region = settings_.region;
  for (auto& field : object::sign(to_sign, credentials)) out.headers.push_back(std::move(field));
  return out;
}

http::Response S3Service::send(Op op, const Call& call, const std::string& payload_sha256) {
  const std::string sha256 = !payload_sha256.empty() ? payload_sha256
                             : call.body.empty()     ? kEmptySha256
                                                     : object::hex(object::sha256(call.body));
  const http::Cancel cancel = object::cancel_of(op);
  http::Request out = request(call, credentials_->get(cancel), sha256);
  object::set_patience(out, op, call.slow ? object::Patience::kLong : object::Patience::kUsual);
  if (call.throttled)
    object::set_body(out, op, call.body);
  else
    out.body = call.body;
  return client_.send(out, cancel);
}

Error S3Service::failure(const std::string& what, const http::Response& answer) const {
  const S3Error said = parse_error(answer.body);
  std::string detail = said.code;
  if (!said.message.empty()) detail += (detail.empty() ? "" : ": ") + said.message.substr(0, 500);
  Error error = http::status_error(what, answer.status, answer.headers, detail);
  const std::string& code = said.code;
  const auto is = [&](std::initializer_list<const char*> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  // The body changed or broke off on its way, the server is busy with this key, or an answer of
  // 200 turned out to be a failure.
  if (is({"RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody",
          "ConditionalRequestConflict", "OperationAborted", "InternalError", "SlowDown",
          "ServiceUnavailable"}) ||
      (answer.status == 409 && code.empty()))
    return Error(HYPER_BUSY, what, detail)
        .native(answer.status)
        .retryable(http::retry_after_ns(answer.headers));
  if (is({"ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"})) {
    credentials_->renew();
    return Error(HYPER_AUTH, what, detail).native(answer.status).retryable();
  }
  if (is({"NoSuchUpload"})) return Error(HYPER_NOTFOUND, what, detail).native(answer.status);
  const std::string region =
      !said.region.empty() ? said.region : answer.headers.get("x-amz-bucket-region");
  if ((answer.status == 301 || answer.status == 307 || code == "AuthorizationHeaderMalformed") &&
      !region.empty() && region != settings_.region)
    return Error(HYPER_CONFIG, what, "the bucket is in the region " + region)
        .hint("set region: " + region)
        .at("/region")
        .native(answer.status);
  if (answer.status >= 300 && answer.status < 400)
    return Error(HYPER_CONFIG, what,
                 "the server redirects to " + http::shown_url(answer.headers.get("Location")))
        .hint("check endpoint, region and path_style")
        .at("/endpoint")
        .native(answer.status);
  if (is({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}))
    return Error(HYPER_NOSPACE, what, detail).native(answer.status);
  if (is({"InvalidAccessKeyId", "SignatureDoesNotMatch"}))
    error.hint("check the access key and its secret").at("/access_key_id");
  if (is({"RequestTimeTooSkewed"})) error.hint("set this machine's clock");
  if (is({"NoSuchBucket"})) error.hint("make the bucket first").at("/bucket");
  return error;
}

http::Response S3Service::ask(Op op, const Call& call, const std::string& what,
                              const std::string& payload_sha256) {
  http::Response answer = send(op, call, payload_sha256);
  if (!answer.ok()) throw failure(what, answer);
  return answer;
}

Fields S3Service::object_headers(const PutSpec& spec) const {
  Fields out = settings_.headers;
  out.emplace_back("Content-Type", spec.content_type);
  for (const auto& [name, value] : spec.metadata) out.emplace_back("x-amz-meta-" + name, value);
  return out;
}

void S3Service::check(Op op) {
  const Fields query = {{"list-type", "2"}, {"max-keys", "1"}};
  parse_objects(ask(op, {"GET", "", query, {}, {}}, "cannot look into " + shown("")).body);
}

std::optional<ObjectInfo> S3Service::head(Op op, const std::string& key) {
  Call call{"HEAD", key, {}, {}, {}};
  if (settings_.checksums) call.headers = {{"x-amz-checksum-mode", "ENABLED"}};
  const http::Response answer = send(op, call);
  if (answer.status == 404) return std::nullopt;
  if (!answer.ok()) throw failure("cannot look at " + shown(key), answer);
  ObjectInfo out;
  out.key = key;
  out.bytes = length_of(answer.headers);
  out.modified = answer.headers.get("Last-Modified");
  out.etag = answer.headers.get("ETag");
  out.checksum = shown_checksum(answer.headers.get("x-amz-checksum-sha256"));
  const std::string part_size = answer.headers.get(std::string("x-amz-meta-") + kPartSize);
  std::from_chars(part_size.data(), part_size.data() + part_size.size(), out.part_size);
  return out;
}

void S3Service::read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) {
  Call call{"GET", object.key, {}, {}, {}};
  if (!object.etag.empty()) call.headers = {{"If-Match", object.etag}};
  const http::Cancel cancel = object::cancel_of(op);
  try {
    client_.read_range(request(call, credentials_->get(cancel), kEmptySha256), offset, buf, len,
                       cancel);
  } catch (const Error& error) {
    if (error.native_code() == 412)
      throw Error(HYPER_CORRUPT, shown(object.key) + " was replaced while it was read");
    throw;
  }
}

void S3Service::list(Op op, const std::string& prefix,
                     const std::function<void(const ObjectInfo&)>& on_object) {
  std::string next;
  object::Pages pages;
  do {
    op.check_cancelled();
    Fields query = {{"list-type", "2"}, {"prefix", prefix}};
    if (!next.empty()) query.emplace_back("continuation-token", next);
    const ObjectPage page =
        parse_objects(ask(op, {"GET", "", query, {}, {}}, "cannot list " + shown(prefix)).body);
    for (const ObjectInfo& object : page.objects) on_object(object);
    pages.follow(page.next);
    next = page.next;
  } while (!next.empty());
}

void S3Service::remove(Op op, const std::string& key) {
  // A DELETE says the same whether there was an object or not.
  if (!head(op, key)) throw Error(HYPER_NOTFOUND, "there is no object " + shown(key));
  ask(op, {"DELETE", key, {}, {}, {}}, "cannot remove " + shown(key));
}

std::string S3Service::presign(const std::string& key, uint64_t seconds) {
  object::ToSign to_sign;
  to_sign.method = "GET";
  to_sign.host = host_;
  to_sign.path = base_path_ + "/" + object::uri_encode(key, true);
  to_sign.time = std::time(nullptr);
  to_sign.region = settings_.region;
  const AwsCredentials credentials = credentials_->get(http::Cancel::never());
  const std::string scheme = settings_.endpoint.substr(0, settings_.endpoint.find("://") + 3);
  const std::string url = scheme + host_ + to_sign.path;
  return credentials.access_key.empty()
             ? url
             : url + "?" + object::presigned_query(to_sign, credentials, seconds);
}

ObjectInfo S3Service::put(Op op, const PutSpec& spec, std::string_view bytes) {
  const std::string sha256 = object::sha256(bytes);
  Call call{"PUT", spec.key, {}, object_headers(spec), bytes, true};
  if (settings_.checksums)
    call.headers.emplace_back("x-amz-checksum-sha256", object::base64(sha256));
  const bool conditional = !spec.overwrite && conditional_;
  if (conditional) call.headers.emplace_back("If-None-Match", "*");
  const http::Response answer = send(op, call, object::hex(sha256));
  if (answer.status == 501 && conditional) {
    conditional_ = false;  // put() of the storage has looked whether it is there
    return put(op, spec, bytes);
  }
  if (answer.status == 412) throw Error(HYPER_EXISTS, shown(spec.key) + " exists").native(412);
  if (!answer.ok()) throw failure("cannot write " + shown(spec.key), answer);
  ObjectInfo out;
  out.key = spec.key;
  out.bytes = bytes.size();
  out.etag = answer.headers.get("ETag");
  out.checksum = "sha256:" + object::hex(sha256);
  const std::string kept = answer.headers.get("x-amz-checksum-sha256");
  if (!kept.empty() && kept != object::base64(sha256)) {
    ask(op, {"DELETE", spec.key, {}, {}, {}}, "cannot remove " + shown(spec.key));
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent").retryable();
  }
  return out;
}

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
  if (sha256 && !object.checksum.empty()) return object.checksum == "sha256-parts:" + *sha256;
  const auto etag = composite_etag(parts);
  return etag && without_quotes(object.etag) == *etag;
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
  const auto [etag, sha256] = parse_completed(answer.body);
  ObjectInfo out;
  out.key = spec.key;
  out.bytes = length;
  out.etag = etag;
  out.checksum = shown_checksum(sha256);
  const auto want_sha256 = composite_sha256(parts);
  const auto want_etag = composite_etag(parts);
  const bool encrypted_otherwise = !answer.headers.get("x-amz-server-side-encryption").empty();
  const bool wrong_sha256 = !sha256.empty() && want_sha256 && sha256 != *want_sha256;
  const bool wrong_etag = sha256.empty() && !encrypted_otherwise && want_etag &&
                          without_quotes(etag).find('-') != std::string::npos &&
                          without_quotes(etag) != *want_etag;
  if (wrong_sha256 || wrong_etag) {
    ask(op, {"DELETE", spec.key, {}, {}, {}}, "cannot remove " + shown(spec.key));
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent",
                "its checksum is " + (wrong_sha256 ? sha256 : etag) + " instead of " +
                    (wrong_sha256 ? *want_sha256 : *want_etag));
  }
  if (out.checksum.empty() && settings_.checksums && want_sha256)
    out.checksum = "sha256-parts:" + *want_sha256;
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

void S3Service::abort(Op op, const std::string& key, const json& upload, const std::string& began) {
  const std::string id = upload.is_object() ? text_member(upload, "id") : std::string();
  if (id.empty()) return abort_unnamed(op, key, began);
  const http::Response answer = send(op, {"DELETE", key, {{"uploadId", id}}, {}, {}});
  if (answer.ok()) return;
  const Error error = failure("cannot abort the upload of " + shown(key), answer);
  if (error.status() != HYPER_NOTFOUND || parse_error(answer.body).code == "NoSuchBucket")
    throw error;
}

}  // namespace hyper::s3
