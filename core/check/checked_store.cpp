// SPDX-License-Identifier: Apache-2.0
#include "core/check/checked_store.hpp"

#include <algorithm>
#include <random>

namespace hyperhost::check {

CheckedStore::CheckedStore(Run& run) : run_(run) {
  Operation op = operation("connect");
  storage_ = run.connect_storage(op);
}

const std::string& CheckedStore::prefix() {
  static const std::string made = "hyperhost-check-" + std::to_string(std::random_device()());
  return made;
}

nlohmann::json CheckedStore::request(const std::string& key, uint64_t length, bool overwrite) {
  return {{"key", key},
          {"length", length},
          {"expected_bytes", length},
          {"overwrite", overwrite},
          {"durability", "none"},
          {"content_type", "application/octet-stream"},
          {"metadata", {{"vm", "hyperhost-check"}}}};
}

nlohmann::json CheckedStore::stat(const std::string& key) {
  run_.at("stat(\"" + key + "\")");
  Operation op = operation(key);
  nlohmann::json found = storage_->stat(op, key);
  if (found.is_null()) return found;
  run_.expect(found.value("key", "") == key, "stat(\"" + key + "\") answers for another key: " +
                                                 found.value("key", nlohmann::json()).dump());
  return found;
}

std::vector<std::string> CheckedStore::list(const std::string& prefix) {
  run_.at("list(\"" + prefix + "\")");
  Operation op = operation("list");
  std::vector<std::string> keys;
  storage_->list(op, prefix, [&](const nlohmann::json& object) {
    keys.push_back(object.value("key", ""));
    if (keys.back().rfind(prefix, 0) != 0)
      run_.fail("list(\"" + prefix + "\") gives a key that does not begin so: " + keys.back());
  });
  std::sort(keys.begin(), keys.end());
  return keys;
}

void CheckedStore::remove(const std::string& key) {
  run_.at("remove(\"" + key + "\")");
  Operation op = operation(key);
  storage_->remove(op, key);
}

std::unique_ptr<SinkHandle> CheckedStore::put(const std::string& key, uint64_t length,
                                              bool overwrite) {
  run_.at("put(\"" + key + "\")");
  Operation op = operation(key);
  return storage_->put(op, request(key, length, overwrite));
}

nlohmann::json CheckedStore::commit(SinkHandle& sink, const std::string& key, uint64_t length) {
  const std::string call = "commit(" + std::to_string(length) + ")";
  run_.at(call + " of \"" + key + "\"");
  Operation op = operation(key);
  nlohmann::json answer = sink.commit(op, length);
  run_.expect(answer.value("bytes", length) == length,
              call + " says that the object has " + answer.value("bytes", nlohmann::json()).dump() +
                  " bytes");
  return answer;
}

Bytes CheckedStore::get(const std::string& key, uint64_t length) {
  const std::string call = "get(\"" + key + "\")";
  run_.at(call);
  Operation op = operation(key);
  try {
    const auto source = storage_->get(op, key);
    Bytes bytes(length);
    if (source->length() == length) {
      if (length != 0) source->read_at(op, 0, bytes.data(), length);
      return bytes;
    }
    run_.fail(call + " is " + std::to_string(source->length()) + " bytes, should be " +
              std::to_string(length));
  } catch (const Error& error) {
    run_.fail(call + " fails: " + error.what());
  }
  return {};
}

void CheckedStore::write(const SinkHandle& sink, const Bytes& bytes, Operation& op) {
  const hyper_sink& table = sink.table();
  std::vector<std::pair<uint64_t, uint64_t>> pieces;
  const uint64_t step = sink.can(HYPER_SINK_PARTS)    ? table.part_size
                        : sink.can(HYPER_SINK_RANDOM) ? (1u << 20)
                                                      : 300'000 / table.block_min * table.block_min;
  for (uint64_t at = 0; at < bytes.size(); at += step)
    pieces.emplace_back(at, std::min<uint64_t>(step, bytes.size() - at));
  const bool any_order = sink.can(HYPER_SINK_PARTS) || sink.can(HYPER_SINK_RANDOM);
  if (any_order) std::reverse(pieces.begin(), pieces.end());
  for (const auto& [offset, length] : pieces) {
    run_.at("write_at(" + std::to_string(offset) + ", " + std::to_string(length) + ")");
    op.check(table.write_at(table.ctx, &op, 0, offset, bytes.data() + offset, length),
             "write_at()");
  }
}

uint64_t CheckedStore::size_for(const SinkHandle& sink) const {
  if (!sink.can(HYPER_SINK_PARTS)) return (3u << 20) + 4096 + 17;
  const uint64_t part = sink.table().part_size;
  run_.require(part <= (64u << 20), "its parts are larger than 64 MiB");
  return part <= (16u << 20) ? 2 * part + 1000 : part + 1000;
}

void CheckedStore::store(const std::string& key, const Bytes& bytes, bool overwrite) {
  const auto sink = put(key, bytes.size(), overwrite);
  Operation op = operation(key);
  write(*sink, bytes, op);
  commit(*sink, key, bytes.size());
}

std::size_t CheckedStore::files() const {
  const std::string made = run_.made_directory(HYPER_IFACE_STORAGE);
  return made.empty() ? 0 : files_below(made).size();
}

}  // namespace hyperhost::check
