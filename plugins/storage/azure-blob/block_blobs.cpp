// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/azure-blob/block_blobs.hpp"

#include <cstdio>
#include <pugixml.hpp>

#include "plugins/storage/object/digest.hpp"

namespace hyper::azure {
namespace {

using nlohmann::json;

constexpr std::size_t kNameLength = 8 + 1 + 32;  // all blocks of a blob need names of one length

std::string block_name(uint64_t index, const std::string& md5_hex) {
  char number[16];
  std::snprintf(number, sizeof number, "%08llu", static_cast<unsigned long long>(index));
  return object::base64(std::string(number) + "-" + md5_hex);
}

/// The MD5 of all MD5s, and how many: recorded with the blob.
std::string parts_mark(const Parts& parts) {
  std::string all;
  for (const auto& [index, part] : parts) all += object::from_hex(part.digest).value_or("");
  return object::hex(object::md5(all)) + "-" + std::to_string(parts.size());
}

/// Blocks whose names are ours; others are left out.
Parts read_blocks(const std::string& text, const char* kind) {
  pugi::xml_document document;
  if (!document.load_buffer(text.data(), text.size()) || !document.child("BlockList"))
    throw Error(HYPER_CORRUPT, "the server's list of blocks is not one").retryable();
  Parts out;
  for (const pugi::xml_node& block : document.child("BlockList").child(kind).children("Block")) {
    const std::string name = object::from_base64(block.child("Name").text().get()).value_or("");
    if (name.size() != kNameLength || name[8] != '-') continue;
    if (name.find_first_not_of("0123456789") != 8) continue;
    Part part;
    part.bytes = block.child("Size").text().as_ullong();
    part.digest = name.substr(9);
    out[std::stoull(name.substr(0, 8))] = std::move(part);
  }
  return out;
}

}  // namespace

Limits BlockBlobs::limits() const {
  Limits limits;
  limits.min_part = 1u << 20;
  limits.max_part = uint64_t{4000} << 20;
  limits.max_parts = 50000;
  limits.max_object = limits.max_part * limits.max_parts;
  return limits;
}

ObjectInfo BlockBlobs::put(Op op, const PutSpec& spec, std::string_view bytes) {
  const std::string md5 = object::md5(bytes);
  Call call{"PUT", spec.key, {}, blob_headers(spec), bytes, true};
  call.headers.emplace_back("x-ms-blob-type", "BlockBlob");
  call.headers.emplace_back("Content-MD5", object::base64(md5));
  call.headers.emplace_back("x-ms-blob-content-md5", object::base64(md5));
  call.headers.emplace_back("Content-Type", "application/octet-stream");
  if (!settings_.tier.empty()) call.headers.emplace_back("x-ms-access-tier", settings_.tier);
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

json BlockBlobs::begin(Op, const PutSpec&, const json&) {
  return {{"blob", "block"}};  // uncommitted blocks belong to the blob's name
}

std::optional<Parts> BlockBlobs::parts(Op op, const PutSpec& spec, const json&) {
  const http::Response answer = send(
      op, {"GET", spec.key, {{"comp", "blocklist"}, {"blocklisttype", "uncommitted"}}, {}, {}});
  if (answer.status == 404) return std::nullopt;
  if (!answer.ok()) throw failure("cannot list the blocks of " + shown(spec.key), answer);
  return read_blocks(answer.body, "UncommittedBlocks");
}

Part BlockBlobs::put_part(Op op, const PutSpec& spec, const json&, uint64_t index,
                          std::string_view bytes) {
  const std::string md5 = object::md5(bytes);
  Part part;
  part.bytes = bytes.size();
  part.digest = object::hex(md5);
  Call call{"PUT",
            spec.key,
            {{"comp", "block"}, {"blockid", block_name(index, part.digest)}},
            {{"Content-MD5", object::base64(md5)}, {"Content-Type", "application/octet-stream"}},
            bytes,
            true};
  ask(op, call, "cannot write block " + std::to_string(index + 1) + " of " + shown(spec.key));
  return part;
}

Part BlockBlobs::describe(std::string_view bytes) {
  Part part;
  part.bytes = bytes.size();
  part.digest = object::hex(object::md5(bytes));
  return part;
}

bool BlockBlobs::same(const Part& part, std::string_view bytes) {
  return part.digest == object::hex(object::md5(bytes));
}

bool BlockBlobs::made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) {
  return object.bytes == length && object.checksum == "md5-parts:" + parts_mark(parts);
}

ObjectInfo BlockBlobs::finish(Op op, const PutSpec& spec, const json&, const Parts& parts,
                              uint64_t length) {
  std::string body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
  for (const auto& [index, part] : parts)
    body += "<Latest>" + block_name(index, part.digest) + "</Latest>";
  body += "</BlockList>";
  Call call{"PUT", spec.key, {{"comp", "blocklist"}}, blob_headers(spec), body};
  call.slow = true;
  call.headers.emplace_back("x-ms-meta-hyperhost_parts", parts_mark(parts));
  call.headers.emplace_back("x-ms-meta-hyperhost_part_size", std::to_string(spec.part_size));
  call.headers.emplace_back("Content-MD5", object::base64(object::md5(body)));
  call.headers.emplace_back("Content-Type", "application/xml");
  if (!settings_.tier.empty()) call.headers.emplace_back("x-ms-access-tier", settings_.tier);
  if (!spec.overwrite) call.headers.emplace_back("If-None-Match", "*");
  const http::Response answer = send(op, call);
  if (!spec.overwrite) refuse_existing(answer, spec.key);
  if (!answer.ok()) throw failure("cannot complete " + shown(spec.key), answer);

  // What the blob is made of, as the server has it.
  const http::Response list =
      ask(op, {"GET", spec.key, {{"comp", "blocklist"}, {"blocklisttype", "committed"}}, {}, {}},
          "cannot list the blocks of " + shown(spec.key));
  const Parts there = read_blocks(list.body, "CommittedBlocks");
  bool equal = there.size() == parts.size();
  for (const auto& [index, part] : parts) {
    const auto found = there.find(index);
    equal = equal && found != there.end() && found->second.digest == part.digest &&
            found->second.bytes == part.bytes;
  }
  if (!equal) {
    ask(op, {"DELETE", spec.key, {}, {}, {}}, "cannot remove " + shown(spec.key));
    throw Error(HYPER_CORRUPT, shown(spec.key) + " is not at the server what was sent",
                "its list of blocks is another");
  }
  ObjectInfo out;
  out.key = spec.key;
  out.bytes = length;
  out.etag = answer.headers.get("ETag");
  out.checksum = "md5-parts:" + parts_mark(parts);
  return out;
}

/// Uncommitted blocks go when the blob is written. Where there is a blob already it must not be
/// touched: the service drops such blocks after a week.
void BlockBlobs::abort(Op op, const std::string& key, const json&, const std::string&) {
  const http::Response blocks =
      send(op, {"GET", key, {{"comp", "blocklist"}, {"blocklisttype", "uncommitted"}}, {}, {}});
  if (blocks.status == 404) return;
  const std::string what = "cannot drop the unfinished blocks of " + shown(key);
  if (!blocks.ok()) throw failure(what, blocks);
  const std::string body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList></BlockList>";
  Call empty{"PUT",
             key,
             {{"comp", "blocklist"}},
             {{"If-None-Match", "*"}, {"Content-Type", "application/xml"}},
             body};
  const http::Response made = send(op, empty);
  if (made.status == 412 || made.status == 409) return;  // there is a blob
  if (!made.ok()) throw failure(what, made);
  ask(op, {"DELETE", key, {}, {{"If-Match", made.headers.get("ETag")}}, {}}, what);
}

}  // namespace hyper::azure
