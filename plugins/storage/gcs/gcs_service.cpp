// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/gcs/gcs_service.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <mutex>
#include <thread>

#include "plugins/http/errors.hpp"
#include "plugins/storage/gcs/gcs_json.hpp"
#include "plugins/storage/gcs/signed_url.hpp"
#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"

namespace hyper::gcs {
namespace {

using nlohmann::json;

constexpr std::size_t kMostComposed = 32;  // objects in one compose request
constexpr int kContinues = 4;              // times that an upload resumes in its session
constexpr unsigned kRemovers = 8;

std::string part_name(const std::string& prefix, uint64_t index) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%08llu", static_cast<unsigned long long>(index));
  return prefix + digits;
}

/// The CRC-32C of the whole from those of its parts.
std::string whole_crc(const Parts& parts) {
  uint32_t crc = 0;
  for (const auto& [index, part] : parts) {
    const std::string raw = object::from_base64(part.digest).value_or("");
    if (raw.size() != 4) return {};
    uint32_t one = 0;
    for (const char byte : raw) one = one << 8 | static_cast<unsigned char>(byte);
    crc = object::crc32c_combine(crc, one, part.bytes);
  }
  return object::crc32c_base64(crc);
}

std::string prefix_of(const json& upload) {
  return upload.is_object() ? text_or_number(upload, "prefix") : std::string();
}

}  // namespace

GcsService::GcsService(Settings settings, std::unique_ptr<GoogleAuth> auth)
    : settings_(std::move(settings)), auth_(std::move(auth)), client_(settings_.http) {}

std::string GcsService::location(const std::string& key) const {
  return "gs://" + settings_.bucket + "/" + key;
}

Limits GcsService::limits() const {
  Limits limits;
  limits.min_part = 1u << 20;
  limits.max_part = uint64_t{5} << 30;
  limits.max_parts = 4096;  // each is an object to compose and to remove
  limits.max_object = uint64_t{5} << 40;
  return limits;
}

std::string GcsService::bucket_url(const Fields& query) const {
  return settings_.endpoint + "/storage/v1/b/" + object::uri_encode(settings_.bucket, false) +
         "/o" + (query.empty() ? "" : "?" + object::encoded_query(query));
}

std::string GcsService::object_url(const std::string& key, const Fields& query) const {
  return bucket_url() + "/" + object::uri_encode(key, false) +
         (query.empty() ? "" : "?" + object::encoded_query(query));
}

http::Response GcsService::send(Op op, const Call& call) {
  const http::Cancel cancel = object::cancel_of(op);
  http::Request request;
  request.method = call.method;
  request.url = call.url;
  request.headers = call.headers;
  object::set_patience(request, op, call.slow ? object::Patience::kLong : object::Patience::kUsual);
  // The address of a session is the server's word, and needs no token: it is the secret itself.
  const bool ours = call.url.rfind(settings_.endpoint + "/", 0) == 0;
  if (const std::string token = auth_->token(cancel); ours && !token.empty())
    request.headers.emplace_back("Authorization", "Bearer " + token);
  if (call.throttled)
    object::set_body(request, op, call.body);
  else
    request.body = call.body;
  return client_.send(request, cancel);
}

Error GcsService::failure(const std::string& what, const http::Response& answer) {
  const json document = json::parse(answer.body, nullptr, false);
  const json said = document.is_object() ? document.value("error", json()) : json();
  const std::string detail = said.is_object() ? text_or_number(said, "message").substr(0, 500)
                                              : answer.body.substr(0, 200);
  if (answer.status == 401) {
    auth_->renew();
    return Error(HYPER_AUTH, what, detail).native(401).retryable();
  }
  // What arrived was not what its checksum says.
  if (answer.status == 400 &&
      (detail.find("CRC32C") != std::string::npos || detail.find("crc32c") != std::string::npos ||
       detail.find("MD5") != std::string::npos))
    return Error(HYPER_BUSY, what, detail).native(400).retryable();
  return http::status_error(what, answer.status, answer.headers, detail);
}

json GcsService::ask(Op op, const Call& call, const std::string& what) {
  const http::Response answer = send(op, call);
  if (!answer.ok()) throw failure(what, answer);
  if (answer.body.empty()) return json::object();
  json document = json::parse(answer.body, nullptr, false);
  if (!document.is_object())
    throw Error(HYPER_CORRUPT, what, "the server's answer is no JSON object").retryable();
  return document;
}

void GcsService::check(Op op) {
  ask(op, {"GET", bucket_url({{"maxResults", "1"}}), {}, {}},
      "cannot look into the bucket '" + settings_.bucket + "'");
}

std::optional<ObjectInfo> GcsService::head(Op op, const std::string& key) {
  const http::Response answer = send(op, {"GET", object_url(key), {}, {}});
  if (answer.status == 404) return std::nullopt;
  if (!answer.ok()) throw failure("cannot look at " + shown(key), answer);
  const json document = json::parse(answer.body, nullptr, false);
  if (!document.is_object())
    throw Error(HYPER_CORRUPT, "cannot look at " + shown(key), "the answer is no JSON").retryable();
  ObjectInfo out = info_of(document);
  out.key = key;
  return out;
}

void GcsService::read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) {
  const http::Cancel cancel = object::cancel_of(op);
  http::Request request;
  Fields query = {{"alt", "media"}};
  if (!object.etag.empty()) query.emplace_back("generation", object.etag);
  request.url = object_url(object.key, query);
  if (const std::string token = auth_->token(cancel); !token.empty())
    request.headers.emplace_back("Authorization", "Bearer " + token);
  client_.read_range(std::move(request), offset, buf, len, cancel);
}

void GcsService::list(Op op, const std::string& prefix,
                      const std::function<void(const ObjectInfo&)>& on_object) {
  std::string next;
  object::Pages pages;
  do {
    op.check_cancelled();
    Fields query = {{"prefix", prefix}};
    if (!next.empty()) query.emplace_back("pageToken", next);
    const json page = ask(op, {"GET", bucket_url(query), {}, {}}, "cannot list " + shown(prefix));
    for (const json& entry : page.value("items", json::array()))
      if (entry.is_object()) on_object(info_of(entry));
    const std::string after = text_or_number(page, "nextPageToken");
    pages.follow(after);
    next = after;
  } while (!next.empty());
}

void GcsService::remove(Op op, const std::string& key) {
  const http::Response answer = send(op, {"DELETE", object_url(key), {}, {}});
  if (!answer.ok()) throw failure("cannot remove " + shown(key), answer);
}

std::string GcsService::presign(const std::string& key, uint64_t seconds) {
  return signed_url(*auth_, settings_.endpoint, settings_.bucket, key, seconds);
}

json GcsService::resource_of(const PutSpec& spec) const {
  json out = {{"contentType", spec.content_type}};
  if (!settings_.storage_class.empty()) out["storageClass"] = settings_.storage_class;
  if (!spec.metadata.empty()) out["metadata"] = spec.metadata;
  return out;
}

ObjectInfo GcsService::upload(Op op, const std::string& key, const json& resource, bool overwrite,
                              std::string_view bytes) {
  const std::string what = "cannot write " + shown(key);
  const std::string crc = object::crc32c_base64(object::crc32c(bytes));
  json named = resource;
  named["name"] = key;
  named["crc32c"] = crc;
  Fields query = {{"uploadType", "resumable"}, {"name", key}};
  if (!overwrite) query.emplace_back("ifGenerationMatch", "0");
  if (!settings_.kms_key.empty()) query.emplace_back("kmsKeyName", settings_.kms_key);
  const std::string body = named.dump();
  const http::Response session = send(
      op, {"POST",
           settings_.endpoint + "/upload/storage/v1/b/" +
               object::uri_encode(settings_.bucket, false) + "/o?" + object::encoded_query(query),
           {{"Content-Type", "application/json; charset=UTF-8"},
            {"X-Upload-Content-Length", std::to_string(bytes.size())}},
           body});
  if (session.status == 412) throw Error(HYPER_EXISTS, shown(key) + " exists").native(412);
  if (!session.ok()) throw failure(what, session);
  const std::string url = session.headers.get("Location");
  if (url.rfind("http", 0) != 0)
    throw Error(HYPER_CORRUPT, what, "the server begins no session").retryable();

  std::size_t from = 0;
  http::Response answer;
  for (int turn = 0;; ++turn) {
    try {
      Call put{
          "PUT", url, {{"Content-Type", "application/octet-stream"}}, bytes.substr(from), true};
      if (from != 0)
        put.headers.emplace_back("Content-Range", "bytes " + std::to_string(from) + "-" +
                                                      std::to_string(bytes.size() - 1) + "/" +
                                                      std::to_string(bytes.size()));
      answer = send(op, put);
      if (answer.ok()) break;
      if (answer.status == 412) throw Error(HYPER_EXISTS, shown(key) + " exists").native(412);
      throw failure(what, answer);
    } catch (const Error& error) {
      if (!error.is_retryable() || error.native_code() == 400 || turn >= kContinues) throw;
      op.sleep_ns(200'000'000);
      // Ask how many bytes the server has.
      answer = send(
          op, {"PUT", url, {{"Content-Range", "bytes */" + std::to_string(bytes.size())}}, {}});
      if (answer.ok()) break;
      if (answer.status != 308) throw;
      const std::string range = answer.headers.get("Range");  // "bytes=0-N"
      const std::size_t dash = range.find('-');
      from = dash == std::string::npos ? 0 : number(range.substr(dash + 1)) + 1;
      if (from >= bytes.size()) throw;
    }
  }
  const json document = json::parse(answer.body, nullptr, false);
  if (!document.is_object())
    throw Error(HYPER_CORRUPT, what, "the server's answer is no JSON object").retryable();
  ObjectInfo out = info_of(document);
  out.key = key;
  if (out.bytes != bytes.size() || (!out.checksum.empty() && out.checksum != "crc32c:" + crc)) {
    remove(op, key);
    throw Error(HYPER_CORRUPT, shown(key) + " is not at the server what was sent").retryable();
  }
  return out;
}

ObjectInfo GcsService::put(Op op, const PutSpec& spec, std::string_view bytes) {
  return upload(op, spec.key, resource_of(spec), spec.overwrite, bytes);
}

json GcsService::name_upload(const PutSpec& spec) {
  return {{"prefix", spec.key + "." + object::random_hex(6) + ".hyperhost-part/"}};
}

json GcsService::begin(Op, const PutSpec&, const json& name) {
  return name;
}

std::optional<Parts> GcsService::parts(Op op, const PutSpec&, const json& upload) {
  const std::string prefix = prefix_of(upload);
  if (prefix.empty()) return std::nullopt;
  Parts out;
  list(op, prefix, [&](const ObjectInfo& object) {
    if (object.key.rfind(prefix, 0) != 0) return;  // the server was asked for these only
    const std::string name = object.key.substr(prefix.size());
    uint64_t index = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (name.size() != 8 || error != std::errc() || end != name.data() + name.size()) return;
    Part part;
    part.bytes = object.bytes;
    part.etag = object.etag;
    if (object.checksum.rfind("crc32c:", 0) == 0) part.digest = object.checksum.substr(7);
    out[index] = std::move(part);
  });
  return out;
}

Part GcsService::put_part(Op op, const PutSpec&, const json& upload_name, uint64_t index,
                          std::string_view bytes) {
  // Passing objects are billed for the minimum time of their class: the standard one has none.
  const json resource = {{"contentType", "application/octet-stream"}, {"storageClass", "STANDARD"}};
  const ObjectInfo made =
      upload(op, part_name(prefix_of(upload_name), index), resource, true, bytes);
  Part part;
  part.bytes = bytes.size();
  part.etag = made.etag;
  part.digest = object::crc32c_base64(object::crc32c(bytes));
  return part;
}

Part GcsService::describe(std::string_view bytes) {
  Part part;
  part.bytes = bytes.size();
  part.digest = object::crc32c_base64(object::crc32c(bytes));
  return part;
}

bool GcsService::same(const Part& part, std::string_view bytes) {
  return part.digest == object::crc32c_base64(object::crc32c(bytes));
}

ObjectInfo GcsService::compose(Op op, const std::vector<std::string>& from, const std::string& key,
                               const json& resource, bool overwrite) {
  json sources = json::array();
  for (const std::string& name : from) sources.push_back({{"name", name}});
  const std::string body = json{
      {"kind", "storage#composeRequest"},
      {"sourceObjects", sources},
      {"destination",
       resource}}.dump();
  Fields query;
  if (!overwrite) query.emplace_back("ifGenerationMatch", "0");
  if (!settings_.kms_key.empty()) query.emplace_back("kmsKeyName", settings_.kms_key);
  const std::string url = bucket_url() + "/" + object::uri_encode(key, false) + "/compose" +
                          (query.empty() ? "" : "?" + object::encoded_query(query));
  const http::Response answer = send(
      op, {"POST", url, {{"Content-Type", "application/json; charset=UTF-8"}}, body, false, true});
  if (answer.status == 412) throw Error(HYPER_EXISTS, shown(key) + " exists").native(412);
  if (!answer.ok()) throw failure("cannot complete " + shown(key), answer);
  const json document = json::parse(answer.body, nullptr, false);
  if (!document.is_object())
    throw Error(HYPER_CORRUPT, "cannot complete " + shown(key), "the answer is no JSON")
        .retryable();
  ObjectInfo out = info_of(document);
  out.key = key;
  return out;
}

ObjectInfo GcsService::finish(Op op, const PutSpec& spec, const json& upload, const Parts& parts,
                              uint64_t length) {
  const std::string prefix = prefix_of(upload);
  std::vector<std::string> names;
  for (const auto& [index, part] : parts) names.push_back(part_name(prefix, index));
  // A tree of at most 32 branches a node.
  for (int level = 1; names.size() > kMostComposed; ++level) {
    std::vector<std::string> next;
    const std::string above = prefix + "level-" + std::to_string(level) + "-";
    for (std::size_t i = 0; i < names.size(); i += kMostComposed) {
      const std::vector<std::string> group(
          names.begin() + static_cast<std::ptrdiff_t>(i),
          names.begin() + static_cast<std::ptrdiff_t>(std::min(i + kMostComposed, names.size())));
      next.push_back(part_name(above, next.size()));
      compose(op, group, next.back(),
              {{"contentType", "application/octet-stream"}, {"storageClass", "STANDARD"}}, true);
    }
    names = std::move(next);
  }
  ObjectInfo out = compose(op, names, spec.key, resource_of(spec), spec.overwrite);
  if (!made_of(out, parts, length)) {
    remove(op, spec.key);
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent",
                out.checksum + " and " + std::to_string(out.bytes) + " bytes instead of crc32c:" +
                    whole_crc(parts) + " and " + std::to_string(length));
  }
  return out;
}

bool GcsService::made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) {
  return object.bytes == length && object.checksum == "crc32c:" + whole_crc(parts);
}

/// Makes several of the many small requests at once.
void GcsService::remove_all(Op op, const std::string& prefix) {
  std::vector<std::string> names;
  list(op, prefix, [&](const ObjectInfo& object) { names.push_back(object.key); });
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (std::size_t i = next++; i < names.size(); i = next++) {
      try {
        remove(op, names[i]);
      } catch (const Error& failed) {
        const std::lock_guard lock(mutex);
        if (failed.status() != HYPER_NOTFOUND && !error) error = std::current_exception();
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (unsigned i = 1; i < std::min<std::size_t>(kRemovers, names.size()); ++i)
      others.emplace_back(work);
    work();
  }
  if (error) std::rethrow_exception(error);
}

void GcsService::abort(Op op, const std::string&, const json& upload, const std::string&) {
  if (const std::string prefix = prefix_of(upload); !prefix.empty()) remove_all(op, prefix);
}

}  // namespace hyper::gcs
