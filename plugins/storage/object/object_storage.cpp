// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/object_storage.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "plugins/storage/object/modified_time.hpp"
#include "plugins/storage/object/object_source.hpp"
#include "plugins/storage/object/part_sink.hpp"

namespace hyper::object {
namespace {

using nlohmann::json;

constexpr uint64_t kMiB = 1u << 20;
constexpr const char* kPassing = ".hyperhost-part";
constexpr std::size_t kLongestKey = 1024;  // bytes, of all three services

std::string text_of(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// option: the JSON Pointer of the option that it is; "" = none.
void check_key(const std::string& key, const std::string& option = {}) {
  const auto wrong = [&](const std::string& why) {
    throw Error(HYPER_CONFIG, "\"" + key + "\" is not a key", why).at(option);
  };
  if (key.empty()) wrong("it is empty");
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('/', begin), key.size());
    const std::string part = key.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") wrong("it has an empty, '.' or '..' part");
    begin = end + 1;
  }
  if (std::any_of(key.begin(), key.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    wrong("it has control characters");
}

struct PutRequest {
  std::string key, content_type;
  uint64_t expected_bytes = 0, presign_seconds = 0;
  bool overwrite = false, adopt = false;
  std::map<std::string, std::string> metadata;
};

PutRequest parse_put(const std::string& text) {
  try {
    const json document = json::parse(text);
    PutRequest request;
    request.key = document.at("key").get<std::string>();
    for (const char* name : {"length", "expected_bytes"})
      if (const auto found = document.find(name); found != document.end() && !found->is_null())
        request.expected_bytes = std::max(request.expected_bytes, found->get<uint64_t>());
    request.overwrite = document.value("overwrite", false);
    request.adopt = document.value("adopt", false);
    request.content_type = document.value("content_type", "application/octet-stream");
    request.presign_seconds = document.value("presign_seconds", uint64_t{0});
    if (const auto found = document.find("metadata"); found != document.end())
      request.metadata = found->get<std::map<std::string, std::string>>();
    return request;
  } catch (const json::exception& error) {
    throw Error(HYPER_CONFIG, "the request to write an object is malformed", error.what());
  }
}

/// Metadata travels in header fields.
void check_metadata(const std::map<std::string, std::string>& metadata) {
  for (const auto& [name, value] : metadata) {
    const bool plain_name = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    if (!plain_name)
      throw Error(HYPER_CONFIG, "\"" + name + "\" is no name for metadata of an object")
          .hint("use a-z, 0-9, '-' and '_'")
          .at("/metadata");
    if (std::any_of(value.begin(), value.end(), [](char c) { return c < 0x20 || c > 0x7e; }))
      throw Error(HYPER_CONFIG, "the metadata \"" + name + "\" is not plain ASCII text")
          .at("/metadata");
  }
}

}  // namespace

uint64_t choose_part_size(const Limits& limits, uint64_t wanted, uint64_t expected) {
  if (limits.fixed_part != 0) return limits.fixed_part;
  // An image may be a little larger than its disk: its tables come on top.
  const uint64_t bytes = std::min(limits.max_object, expected + expected / 16 + 64 * kMiB);
  const uint64_t needed = bytes / limits.max_parts + 1;
  const uint64_t unit = std::max(kMiB, limits.part_multiple);
  uint64_t size = std::max({wanted, needed, limits.min_part});
  size = (size + unit - 1) / unit * unit;
  if (size > limits.max_part) size = limits.max_part / unit * unit;
  return size;
}

StoreSettings read_store_settings(const Doc& config) {
  StoreSettings out;
  out.prefix = config.string("/prefix");
  while (!out.prefix.empty() && out.prefix.back() == '/') out.prefix.pop_back();
  if (!out.prefix.empty()) {
    check_key(out.prefix, "/prefix");
    out.prefix += '/';
  }
  const int64_t part_size = config.integer("/part_size", 16 * kMiB);
  if (part_size <= 0) throw Error(HYPER_CONFIG, "part_size is not positive").at("/part_size");
  out.part_size = static_cast<uint64_t>(part_size);
  out.concurrency =
      static_cast<unsigned>(std::clamp<int64_t>(config.integer("/concurrency", 4), 1, 64));
  out.retry.attempts =
      static_cast<unsigned>(std::clamp<int64_t>(config.integer("/max_attempts", 8), 1, 100));
  if (config.has("/metadata")) {
    const json metadata = json::parse(config.json("/metadata"));
    for (const auto& [name, value] : metadata.items())
      out.metadata[name] = value.get<std::string>();
    check_metadata(out.metadata);
  }
  return out;
}

std::string ObjectStorage::whole_key(const std::string& key) const {
  check_key(key);
  std::string whole = settings_.prefix + key;
  if (whole.size() > kLongestKey)
    throw Error(HYPER_CONFIG, "the key \"" + whole.substr(0, 80) + "…\" is longer than " +
                                  std::to_string(kLongestKey) + " bytes");
  return whole;
}

std::string ObjectStorage::entry(const ObjectInfo& object) const {
  json out = {{"key", object.key.substr(settings_.prefix.size())},
              {"bytes", object.bytes},
              {"location", service_->location(object.key)}};
  if (!object.checksum.empty()) out["checksum"] = object.checksum;
  if (const std::string time = modified_time(object.modified); !time.empty())
    out["modified"] = time;
  return text_of(out);
}

std::optional<ObjectInfo> ObjectStorage::look(Op op, const std::string& key) const {
  return with_retries(op, settings_.retry, "looking for " + service_->location(key),
                      [&](unsigned) { return service_->head(op, key); });
}

std::string ObjectStorage::info(Op op) {
  with_retries(op, settings_.retry, "looking at " + service_->where(),
               [&](unsigned) { service_->check(op); });
  return text_of({{"location", service_->location(settings_.prefix)},
                  {"sink", {"parts"}},
                  {"max_object_bytes", service_->limits().max_object}});
}

std::unique_ptr<Sink> ObjectStorage::put(Op op, const Doc& document) {
  const PutRequest request = parse_put(document.json());
  const Limits limits = service_->limits();
  PutSpec spec;
  spec.key = whole_key(request.key);
  spec.expected_bytes = request.expected_bytes;
  spec.overwrite = request.overwrite;
  spec.content_type = request.content_type;
  spec.metadata = settings_.metadata;
  for (const auto& [name, value] : request.metadata) spec.metadata[name] = value;
  check_metadata(spec.metadata);
  if (request.expected_bytes > limits.max_object)
    throw Error(HYPER_NOSPACE, service_->location(spec.key) + " may need " +
                                   std::to_string(request.expected_bytes) +
                                   " bytes, and the largest object has " +
                                   std::to_string(limits.max_object));
  std::optional<ObjectInfo> existing;
  if (!request.overwrite) existing = look(op, spec.key);
  if (existing && !request.adopt)
    throw Error(HYPER_EXISTS, service_->location(spec.key) + " exists")
        .hint("allow overwriting (upload: {overwrite: true}), choose another prefix, or remove it");
  auto left = UploadRecord::left_behind(op, *service_, spec.key);
  spec.part_size = choose_part_size(limits, settings_.part_size, request.expected_bytes);
  if (left && left->part_size() >= spec.part_size) spec.part_size = left->part_size();
  if (existing && existing->part_size != 0) spec.part_size = existing->part_size;
  if (request.presign_seconds != 0) service_->presign(spec.key, request.presign_seconds);
  auto sink =
      std::make_unique<PartSink>(service_, std::move(spec), settings_.retry, settings_.concurrency,
                                 std::move(left), request.presign_seconds, std::move(existing));
  sink->take_up(op);
  return sink;
}

std::unique_ptr<Source> ObjectStorage::get(Op op, const std::string& key) {
  auto object = look(op, whole_key(key));
  if (!object)
    throw Error(HYPER_NOTFOUND, "there is no object " + service_->location(whole_key(key)));
  return std::make_unique<ObjectSource>(service_, std::move(*object), settings_.retry,
                                        settings_.concurrency);
}

std::string ObjectStorage::stat(Op op, const std::string& key) {
  const auto object = look(op, whole_key(key));
  return object ? entry(*object) : std::string();
}

void ObjectStorage::list(Op op, const std::string& prefix, const Emit& emit) {
  service_->list(op, settings_.prefix + prefix, [&](const ObjectInfo& object) {
    // Passing objects of unfinished uploads are none of the results. Nor is the mark of a directory
    // that other programs make: its key is the prefix itself.
    if (object.key.find(kPassing) == std::string::npos && object.key != settings_.prefix)
      emit(entry(object));
  });
}

void ObjectStorage::remove(Op op, const std::string& key) {
  const std::string whole = whole_key(key);
  bool unsure = false;
  with_retries(op, settings_.retry, "removing " + service_->location(whole), [&](unsigned) {
    try {
      service_->remove(op, whole);
    } catch (const Error& error) {
      if (unsure && error.status() == HYPER_NOTFOUND) return;
      unsure = unsure || error.is_retryable();
      throw;
    }
  });
}

void ObjectStorage::undo(Op op, const Doc& entry) {
  const UploadRecord record(entry.json());
  if (record.where() != service_->where()) throw Reported(HYPER_UNSUPPORTED);
  with_retries(op, settings_.retry, "aborting " + service_->location(record.key()), [&](unsigned) {
    service_->abort(op, record.key(), record.upload(), record.began());
  });
}

}  // namespace hyper::object
