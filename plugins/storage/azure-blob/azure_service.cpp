// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/azure-blob/azure_service.hpp"

#include <algorithm>
#include <charconv>
#include <pugixml.hpp>

#include "plugins/http/errors.hpp"
#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"

namespace hyper::azure {
namespace {

constexpr const char* kVersion = "2021-08-06";

std::string http_date(std::time_t time) {
  static const char* const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static const char* const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[parts.tm_wday],
                parts.tm_mday, months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour,
                parts.tm_min, parts.tm_sec);
  return text;
}

uint64_t number(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw Error(HYPER_CORRUPT, "the server does not say how long a blob is").retryable();
  return value;
}

/// "name=value&…" as pairs, decoded.
Fields parse_query(const std::string& text) {
  Fields out;
  const auto decoded = [](std::string part) {
    std::string plain;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const auto raw = part[i] == '%' && i + 2 < part.size()
                           ? object::from_hex(part.substr(i + 1, 2))
                           : std::nullopt;
      if (raw && raw->size() == 1) {
        plain += *raw;
        i += 2;
      } else {
        plain += part[i];
      }
    }
    return plain;
  };
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('&', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t equals = std::min(part.find('='), part.size());
    if (!part.empty())
      out.emplace_back(decoded(part.substr(0, equals)),
                       equals < part.size() ? decoded(part.substr(equals + 1)) : std::string());
    begin = end + 1;
  }
  return out;
}

}  // namespace

AzureService::AzureService(Settings settings)
    : settings_(std::move(settings)), client_(settings_.http) {
  const std::string& endpoint = settings_.account.endpoint;
  const std::size_t path = std::min(endpoint.find('/', endpoint.find("://") + 3), endpoint.size());
  host_url_ = endpoint.substr(0, path);
  base_path_ = endpoint.substr(path);
  while (!base_path_.empty() && base_path_.back() == '/') base_path_.pop_back();
  base_path_ += "/" + settings_.container;
  if (settings_.account.key.empty() && settings_.account.sas.empty())
    identity_ = std::make_unique<ManagedIdentity>(settings_.account.client_id);
}

std::string AzureService::where() const {
  return host_url_ + base_path_;
}

std::string AzureService::location(const std::string& key) const {
  return "azure://" + settings_.container + "/" + key;
}

std::string AzureService::shown(const std::string& key) const {
  return key.empty() ? "the container '" + settings_.container + "'" : location(key);
}

std::string AzureService::url(const std::string& key) const {
  return host_url_ + base_path_ + (key.empty() ? "" : "/") + object::uri_encode(key, true);
}

http::Request AzureService::request(const Call& call, const http::Cancel& cancel) {
  http::Request out;
  out.method = call.method;
  out.headers = call.headers;
  out.headers.emplace_back("x-ms-date", http_date(std::time(nullptr)));
  out.headers.emplace_back("x-ms-version", kVersion);
  Fields query = call.query;
  if (identity_) {
    out.headers.emplace_back("Authorization", "Bearer " + identity_->token(cancel));
  } else if (!settings_.account.key.empty()) {
    const std::string path =
        base_path_ + (call.key.empty() ? "" : "/") + object::uri_encode(call.key, true);
    out.headers.emplace_back(
        "Authorization",
        shared_key({call.method, path, query, out.headers, call.body.size()}, settings_.account));
  } else {
    for (auto& field : parse_query(settings_.account.sas)) query.push_back(std::move(field));
  }
  // read_range() sets the field that was signed above.
  out.headers.erase(std::remove_if(out.headers.begin(), out.headers.end(),
                                   [](const auto& field) { return field.first == "Range"; }),
                    out.headers.end());
  out.url = url(call.key);
  if (!query.empty()) out.url += "?" + object::encoded_query(query);
  return out;
}

http::Response AzureService::send(Op op, const Call& call) {
  const http::Cancel cancel = object::cancel_of(op);
  http::Request out = request(call, cancel);
  object::set_patience(out, op, call.slow ? object::Patience::kLong : object::Patience::kUsual);
  if (call.throttled)
    object::set_body(out, op, call.body);
  else
    out.body = call.body;
  return client_.send(out, cancel);
}

std::string AzureService::code_of(const http::Response& answer) {
  if (const std::string* code = answer.headers.find("x-ms-error-code")) return *code;
  pugi::xml_document document;
  if (!document.load_buffer(answer.body.data(), answer.body.size())) return {};
  return document.child("Error").child("Code").text().get();
}

Error AzureService::failure(const std::string& what, const http::Response& answer) {
  const std::string code = code_of(answer);
  Error error = http::status_error(what, answer.status, answer.headers, code);
  const auto is = [&](std::initializer_list<const char*> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  if (is({"Md5Mismatch", "Crc64Mismatch", "OperationTimedOut", "ServerBusy", "InternalError",
          "IncompleteBody", "RequestBodyIncomplete"}))
    return Error(HYPER_BUSY, what, code)
        .native(answer.status)
        .retryable(http::retry_after_ns(answer.headers));
  if (answer.status == 401 && identity_) {
    identity_->renew();
    return Error(HYPER_AUTH, what, code).native(answer.status).retryable();
  }
  if (is({"AuthenticationFailed", "AuthorizationFailure"}))
    error.hint("check the account's name and its key, signature or role, and this machine's clock");
  if (is({"ContainerNotFound"})) error.hint("make the container first").at("/container");
  return error;
}

http::Response AzureService::ask(Op op, const Call& call, const std::string& what) {
  http::Response answer = send(op, call);
  if (!answer.ok()) throw failure(what, answer);
  return answer;
}

void AzureService::refuse_existing(const http::Response& answer, const std::string& key) const {
  if (answer.status == 412 || (answer.status == 409 && code_of(answer) == "BlobAlreadyExists"))
    throw Error(HYPER_EXISTS, shown(key) + " exists").native(answer.status);
}

Fields AzureService::blob_headers(const PutSpec& spec) const {
  Fields out = {{"x-ms-blob-content-type", spec.content_type}};
  for (const auto& [name, value] : spec.metadata) out.emplace_back("x-ms-meta-" + name, value);
  if (!settings_.tags.empty()) out.emplace_back("x-ms-tags", settings_.tags);
  return out;
}

void AzureService::check(Op op) {
  ask(op, {"GET", "", {{"restype", "container"}, {"comp", "list"}, {"maxresults", "1"}}, {}, {}},
      "cannot look into " + shown(""));
}

std::optional<ObjectInfo> AzureService::head(Op op, const std::string& key) {
  const http::Response answer = send(op, {"HEAD", key, {}, {}, {}});
  if (answer.status == 404) return std::nullopt;
  if (!answer.ok()) throw failure("cannot look at " + shown(key), answer);
  ObjectInfo out;
  out.key = key;
  out.bytes = number(answer.headers.get("Content-Length"));
  out.modified = answer.headers.get("Last-Modified");
  out.etag = answer.headers.get("ETag");
  if (const std::string* parts = answer.headers.find("x-ms-meta-hyperhost_parts")) {
    out.checksum = "md5-parts:" + *parts;
    const std::string size = answer.headers.get("x-ms-meta-hyperhost_part_size");
    std::from_chars(size.data(), size.data() + size.size(), out.part_size);
  } else if (const auto md5 = object::from_base64(answer.headers.get("Content-MD5"));
             md5 && md5->size() == 16) {
    out.checksum = "md5:" + object::hex(*md5);
  }
  return out;
}

void AzureService::read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) {
  Call call{"GET", object.key, {}, {}, {}};
  call.headers = {
      {"If-Match", object.etag},
      {"Range", "bytes=" + std::to_string(offset) + "-" + std::to_string(offset + len - 1)}};
  const http::Cancel cancel = object::cancel_of(op);
  try {
    client_.read_range(request(call, cancel), offset, buf, len, cancel);
  } catch (const Error& error) {
    if (error.native_code() == 412)
      throw Error(HYPER_CORRUPT, shown(object.key) + " was replaced while it was read");
    throw;
  }
}

void AzureService::list(Op op, const std::string& prefix,
                        const std::function<void(const ObjectInfo&)>& on_object) {
  std::string marker;
  object::Pages pages;
  do {
    op.check_cancelled();
    Fields query = {{"restype", "container"}, {"comp", "list"}, {"prefix", prefix}};
    if (!marker.empty()) query.emplace_back("marker", marker);
    const http::Response answer =
        ask(op, {"GET", "", query, {}, {}}, "cannot list " + shown(prefix));
    pugi::xml_document document;
    if (!document.load_buffer(answer.body.data(), answer.body.size()) ||
        !document.child("EnumerationResults"))
      throw Error(HYPER_CORRUPT, "the server's list of " + shown(prefix) + " is not one")
          .retryable();
    const pugi::xml_node root = document.child("EnumerationResults");
    for (const pugi::xml_node& entry : root.child("Blobs").children("Blob")) {
      const pugi::xml_node properties = entry.child("Properties");
      ObjectInfo object;
      object.key = entry.child("Name").text().get();
      object.bytes = number(properties.child("Content-Length").text().get());
      object.modified = properties.child("Last-Modified").text().get();
      on_object(object);
    }
    const std::string next = root.child("NextMarker").text().get();
    pages.follow(next);
    marker = next;
  } while (!marker.empty());
}

void AzureService::remove(Op op, const std::string& key) {
  ask(op, {"DELETE", key, {}, {}, {}}, "cannot remove " + shown(key));
}

std::string AzureService::presign(const std::string& key, uint64_t seconds) {
  if (settings_.account.key.empty())
    throw Error(HYPER_CONFIG, "a URL for others can be signed with the account's key only")
        .hint("set key or connection_string, or drop presign");
  const std::time_t now = std::time(nullptr);
  return url(key) + "?" +
         read_sas(settings_.account, settings_.container, key, now - 300,
                  now + static_cast<std::time_t>(std::min<uint64_t>(seconds, 7u * 86400)));
}

}  // namespace hyper::azure
