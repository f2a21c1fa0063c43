// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/cloud_storage_manager.hpp"

#include "core/base/json_text.hpp"
#include "core/disk/copy.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost {
namespace {

constexpr unsigned kMostConnections = 64;  // the store says how many it takes

}  // namespace

/// What the store says of the object must be what was sent.
void CloudStorageManager::check_stored(const UploadResult& result, Operation& op) {
  const nlohmann::json there = store_.stat(op, result.key);
  const std::string what = "the object " + result.location;
  if (there.is_null()) throw Error(Code::kCorrupt, what + " is not there after its upload");
  const auto bytes = there.find("bytes");
  if (bytes == there.end() || !bytes->is_number_unsigned() ||
      bytes->get<uint64_t>() != result.bytes)
    throw Error(Code::kCorrupt, what + " does not have the " + std::to_string(result.bytes) +
                                    " bytes that were sent");
  const std::string checksum = text_of(there, "checksum");
  if (!checksum.empty() && !result.checksum.empty() && checksum != result.checksum)
    throw Error(Code::kCorrupt, what + " does not hold what was sent",
                "its checksum is " + checksum + " instead of " + result.checksum);
}

UploadResult CloudStorageManager::commit(SinkHandle& sink, const std::string& key, uint64_t bytes,
                                         const UploadOptions& options, Operation& op) {
  const auto named = [&](bool found_there) {
    if (options.on_new && !options.overwrite && !found_there) options.on_new();
  };
  nlohmann::json answer;
  try {
    answer = sink.commit(op, bytes);
  } catch (const UnusableAnswer&) {
    named(options.adopt);  // it may have been
    throw;
  }
  UploadResult result;
  result.key = key;
  result.bytes = bytes;
  result.location = text_of(answer, "location").empty() ? key : text_of(answer, "location");
  result.checksum = text_of(answer, "checksum");
  result.url = text_of(answer, "url");
  result.adopted = answer.value("adopted", nlohmann::json(false)) == true;
  named(result.adopted);
  check_stored(result, op);
  return result;
}

UploadResult CloudStorageManager::upload_file(
    const std::string& path, const std::string& key, const UploadOptions& options, Operation& op,
    const std::function<void(uint64_t, uint64_t)>& on_progress) {
  const auto source = open_file_source(path, "raw");
  const auto sink = store_.put(op, {{"key", key},
                                    {"length", source->length()},
                                    {"expected_bytes", source->length()},
                                    {"overwrite", options.overwrite},
                                    {"adopt", options.adopt},
                                    {"durability", options.durability},
                                    {"presign_seconds", options.presign.count()}});
  const CopyResult copied = copy_source(*source, *sink, op, kMostConnections, [&](uint64_t done) {
    on_progress(done, source->length());
  });
  UploadResult result = commit(*sink, key, copied.bytes, options, op);
  if (result.checksum.empty()) result.checksum = copied.checksum;
  return result;
}

UploadResult CloudStorageManager::upload_text(const std::string& text, const std::string& key,
                                              const UploadOptions& options, Operation& op) {
  const auto sink = store_.put(op, {{"key", key},
                                    {"length", text.size()},
                                    {"expected_bytes", text.size()},
                                    {"overwrite", options.overwrite},
                                    {"durability", options.durability},
                                    {"adopt", options.adopt},
                                    {"content_type", options.content_type},
                                    {"presign_seconds", options.presign.count()}});
  const hyper_sink& table = sink->table();
  op.check(table.write_at(table.ctx, &op, 0, 0, text.data(), text.size()), "writing " + key);
  return commit(*sink, key, text.size(), options, op);
}

}  // namespace hyperhost
