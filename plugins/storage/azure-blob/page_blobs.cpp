// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/azure-blob/page_blobs.hpp"

#include <cstring>

#include "plugins/storage/object/digest.hpp"

namespace hyper::azure {
namespace {

using nlohmann::json;

constexpr uint64_t kPage = 512;
constexpr uint64_t kPart = 4u << 20;  // the longest write
constexpr uint64_t kLargest = uint64_t{8} << 40;
constexpr uint64_t kCopyPoll = 500'000'000;  // ns

bool all_zero(std::string_view bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

std::string name_of(const json& upload) {
  const auto found = upload.find("blob");
  return found != upload.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The MD5 over the parts' MD5s ("" for a part of zeros), and how many.
std::string pages_mark(const Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) all += part.digest + "\n";
  return object::hex(object::md5(all)) + "-" + std::to_string(parts.size());
}

}  // namespace

Limits PageBlobs::limits() const {
  Limits limits;
  limits.min_part = limits.max_part = limits.fixed_part = kPart;
  limits.max_parts = kLargest / kPart;
  limits.max_object = kLargest;
  return limits;
}

/// A small object (a manifest) beside the disks is a block blob: a page blob holds whole pages.
ObjectInfo PageBlobs::put(Op op, const PutSpec& spec, std::string_view bytes) {
  const std::string md5 = object::md5(bytes);
  Call call{"PUT", spec.key, {}, blob_headers(spec), bytes, true};
  call.headers.emplace_back("x-ms-blob-type", "BlockBlob");
  call.headers.emplace_back("Content-MD5", object::base64(md5));
  call.headers.emplace_back("x-ms-blob-content-md5", object::base64(md5));
  call.headers.emplace_back("Content-Type", "application/octet-stream");
  if (!spec.overwrite) call.headers.emplace_back("If-None-Match", "*");
  const http::Response answer = send(op, call);
  if (!spec.overwrite) refuse_existing(answer, spec.key);
  if (!answer.ok()) throw failure("cannot write " + shown(spec.key), answer);
  ObjectInfo out;
  out.key = spec.key;
  out.bytes = bytes.size();
  out.etag = answer.headers.get("ETag");
  out.checksum = "md5:" + object::hex(md5);
  return out;
}

json PageBlobs::name_upload(const PutSpec& spec) {
  return {{"blob", spec.key + "." + object::random_hex(6) + ".hyperhost-part"}};
}

void PageBlobs::make(Op op, const PutSpec& spec, const std::string& name, uint64_t bytes) {
  Call call{"PUT", name, {}, blob_headers(spec), {}};
  call.headers.emplace_back("x-ms-blob-type", "PageBlob");
  call.headers.emplace_back("x-ms-blob-content-length", std::to_string(bytes));
  ask(op, call, "cannot begin the upload of " + shown(spec.key));
}

json PageBlobs::begin(Op op, const PutSpec& spec, const json& name) {
  // Room for what comes on top of the disk; cut to its length at the end.
  const uint64_t bytes = spec.expected_bytes == 0 ? kLargest : spec.expected_bytes + 16 * kPart;
  make(op, spec, name_of(name), (bytes + kPage - 1) / kPage * kPage);
  return name;
}

std::optional<Parts> PageBlobs::parts(Op, const PutSpec&, const json&) {
  return std::nullopt;
}

Part PageBlobs::put_part(Op op, const PutSpec& spec, const json& upload, uint64_t index,
                         std::string_view bytes) {
  if (bytes.size() % kPage != 0)
    throw Error(HYPER_UNSUPPORTED, shown(spec.key) + " cannot be a page blob",
                "its length is no multiple of 512 bytes")
        .hint("set blob_type: block, or target_format: vhd with subformat fixed");
  Part part;
  part.bytes = bytes.size();
  if (all_zero(bytes)) return part;
  const std::string md5 = object::md5(bytes);
  part.digest = object::hex(md5);
  const uint64_t offset = index * kPart;
  Call call{"PUT",
            name_of(upload),
            {{"comp", "page"}},
            {{"x-ms-page-write", "update"},
             {"x-ms-range",
              "bytes=" + std::to_string(offset) + "-" + std::to_string(offset + bytes.size() - 1)},
             {"Content-MD5", object::base64(md5)},
             {"Content-Type", "application/octet-stream"}},
            bytes,
            true};
  ask(op, call, "cannot write pages of " + shown(spec.key));
  return part;
}

Part PageBlobs::describe(std::string_view bytes) {
  Part part;
  part.bytes = bytes.size();
  if (!all_zero(bytes)) part.digest = object::hex(object::md5(bytes));
  return part;
}

bool PageBlobs::made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) {
  return object.bytes == length && object.checksum == "md5-parts:" + pages_mark(parts);
}

ObjectInfo PageBlobs::finish(Op op, const PutSpec& spec, const json& upload, const Parts& parts,
                             uint64_t length) {
  const std::string name = name_of(upload);
  const std::string what = "cannot complete " + shown(spec.key);
  ask(op,
      {"PUT",
       name,
       {{"comp", "properties"}},
       {{"x-ms-blob-content-length", std::to_string(length)},
        {"x-ms-blob-content-type", spec.content_type}},
       {}},
      what);
  Call copy{"PUT", spec.key, {}, {}, {}};
  copy.slow = true;
  std::string source = url(name);
  if (settings_.account.key.empty() && !settings_.account.sas.empty())
    source += "?" + settings_.account.sas;
  copy.headers.emplace_back("x-ms-copy-source", source);
  for (const auto& [key, value] : spec.metadata)
    copy.headers.emplace_back("x-ms-meta-" + key, value);
  copy.headers.emplace_back("x-ms-meta-hyperhost_parts", pages_mark(parts));
  if (!settings_.tags.empty()) copy.headers.emplace_back("x-ms-tags", settings_.tags);
  if (!spec.overwrite) copy.headers.emplace_back("If-None-Match", "*");
  http::Response answer = send(op, copy);
  if (!spec.overwrite) refuse_existing(answer, spec.key);
  if (!answer.ok()) throw failure(what, answer);
  while (answer.headers.get("x-ms-copy-status") == "pending") {
    op.sleep_ns(kCopyPoll);
    answer = ask(op, {"HEAD", spec.key, {}, {}, {}}, what);
  }
  if (const std::string status = answer.headers.get("x-ms-copy-status"); status != "success")
    throw Error(HYPER_IO, what, "the copy inside the service ended as " + status);
  const auto made = head(op, spec.key);
  if (!made || !made_of(*made, parts, length)) {
    if (made) ask(op, {"DELETE", spec.key, {}, {}, {}}, "cannot remove " + shown(spec.key));
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent");
  }
  return *made;
}

void PageBlobs::abort(Op op, const std::string& key, const json& upload, const std::string&) {
  const std::string name = upload.is_object() ? name_of(upload) : std::string();
  if (name.empty()) return;
  const http::Response answer = send(op, {"DELETE", name, {}, {}, {}});
  if (!answer.ok() && answer.status != 404)
    throw failure("cannot remove the unfinished pages of " + shown(key), answer);
}

}  // namespace hyper::azure
