// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_service.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/s3/s3_checksums.hpp"
#include "plugins/storage/s3/s3_error.hpp"
#include "plugins/storage/s3/s3_xml.hpp"

namespace hyper::s3 {
namespace {

using nlohmann::json;
using object::Fields;

const std::string kEmptySha256 = object::hex(object::sha256(""));

uint64_t length_of(const http::Headers& headers) {
  const std::string text = headers.get("Content-Length");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw Error(HYPER_CORRUPT, "the server does not say how long an object is").retryable();
  return value;
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
  const Failure found = failure_of(what, answer, settings_.region);
  if (found.credentials_expired) credentials_->renew();
  return found.error;
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
  const std::string part_size = answer.headers.get(std::string("x-amz-meta-") + kPartSize);
  std::from_chars(part_size.data(), part_size.data() + part_size.size(), out.part_size);
  const std::string sha256 = answer.headers.get("x-amz-checksum-sha256");
  if (out.part_size == 0)
    out.checksum = shown_checksum(sha256);
  else if (answer.headers.get("x-amz-checksum-type") != "FULL_OBJECT")
    out.checksum =
        shown_checksum(with_part_count(sha256, (out.bytes + out.part_size - 1) / out.part_size));
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

/// Removes what a request has just made: that version of it, where the bucket keeps versions. What
/// was there before comes to the front again.
void S3Service::remove_made(Op op, const std::string& key, const http::Response& answer) {
  Call call{"DELETE", key, {}, {}, {}};
  const std::string version = answer.headers.get("x-amz-version-id");
  if (!version.empty() && version != "null") call.query = {{"versionId", version}};
  ask(op, call, "cannot remove " + shown(key));
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
    remove_made(op, spec.key, answer);
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent").retryable();
  }
  return out;
}

}  // namespace hyper::s3
