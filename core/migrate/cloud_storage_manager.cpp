// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/cloud_storage_manager.hpp"

#include "core/disk/copy.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost {
namespace {

UploadResult committed(const std::string& key, uint64_t bytes, const nlohmann::json& answer) {
  const auto text = [&](const char* name) {
    const auto found = answer.find(name);
    return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return {key, text("location").empty() ? key : text("location"), text("checksum"), bytes};
}

}  // namespace

UploadResult CloudStorageManager::upload_file(
    const std::string& path, const std::string& key, bool overwrite, Operation& op,
    const std::function<void(uint64_t, uint64_t)>& on_progress) {
  const auto source = open_file_source(path, "raw");
  const auto sink = store_.put(op, {{"key", key},
                                    {"length", source->length()},
                                    {"expected_bytes", source->length()},
                                    {"overwrite", overwrite},
                                    {"durability", "file"}});
  constexpr unsigned kConnections = 8;
  const CopyResult copied = copy_source(*source, *sink, op, kConnections, [&](uint64_t done) {
    on_progress(done, source->length());
  });
  UploadResult result = committed(key, copied.bytes, sink->commit(op, copied.bytes));
  if (result.checksum.empty()) result.checksum = copied.checksum;
  return result;
}

UploadResult CloudStorageManager::upload_text(const std::string& text, const std::string& key,
                                              bool overwrite, const std::string& durability,
                                              Operation& op) {
  const auto sink = store_.put(op, {{"key", key},
                                    {"length", text.size()},
                                    {"expected_bytes", text.size()},
                                    {"overwrite", overwrite},
                                    {"durability", durability}});
  const hyper_sink& table = sink->table();
  op.check(table.write_at(table.ctx, &op, 0, text.data(), text.size()), "writing " + key);
  return committed(key, text.size(), sink->commit(op, text.size()));
}

}  // namespace hyperhost
