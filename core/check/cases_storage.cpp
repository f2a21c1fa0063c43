// SPDX-License-Identifier: Apache-2.0
// hyper.storage/1: what is committed is there and whole, what is not leaves nothing.
#include <algorithm>
#include <random>

#include "core/check/resources.hpp"
#include "core/check/run.hpp"
#include "core/check/source_suite.hpp"

namespace hyperhost::check {
namespace {

/// Keys of this run alone: a bucket may hold other things.
std::string prefix() {
  static const std::string made = "hyperhost-check-" + std::to_string(std::random_device()());
  return made;
}

nlohmann::json request_of(const std::string& key, uint64_t length, bool overwrite) {
  return {{"key", key},
          {"length", length},
          {"expected_bytes", length},
          {"overwrite", overwrite},
          {"durability", "none"},
          {"content_type", "application/octet-stream"},
          {"metadata", {{"vm", "hyperhost-check"}}}};
}

class Store {
 public:
  explicit Store(Run& run) : run_(run) {
    Operation op = operation("connect");
    storage_ = run.connect_storage(op);
  }
  StorageHandle& operator*() { return *storage_; }

  nlohmann::json stat(const std::string& key) {
    run_.at("stat(\"" + key + "\")");
    Operation op = operation(key);
    return storage_->stat(op, key);
  }
  std::vector<std::string> list() {
    run_.at("list(\"" + prefix() + "\")");
    Operation op = operation("list");
    std::vector<std::string> keys;
    storage_->list(op, prefix(),
                   [&](const nlohmann::json& object) { keys.push_back(object.value("key", "")); });
    return keys;
  }
  void remove(const std::string& key) {
    run_.at("remove(\"" + key + "\")");
    Operation op = operation(key);
    storage_->remove(op, key);
  }
  std::unique_ptr<SinkHandle> put(const std::string& key, uint64_t length, bool overwrite = false) {
    run_.at("put(\"" + key + "\")");
    Operation op = operation(key);
    return storage_->put(op, request_of(key, length, overwrite));
  }

  /// Writes all of `bytes` in the sink's way, out of order where it may be.
  void write(const SinkHandle& sink, const Bytes& bytes, Operation& op) {
    const hyper_sink& table = sink.table();
    std::vector<std::pair<uint64_t, uint64_t>> pieces;
    const uint64_t step = sink.can(HYPER_SINK_PARTS) ? table.part_size
                          : sink.can(HYPER_SINK_RANDOM)
                              ? (1u << 20)
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

  uint64_t size_for(const SinkHandle& sink) const {
    if (!sink.can(HYPER_SINK_PARTS)) return (3u << 20) + 4096 + 17;
    const uint64_t part = sink.table().part_size;
    run_.require(part <= (64u << 20), "its parts are larger than 64 MiB");
    return part <= (16u << 20) ? 2 * part + 1000 : part + 1000;
  }

 private:
  Run& run_;
  std::unique_ptr<StorageHandle> storage_;
};

}  // namespace

void case_storage(Run& run) {
  Store store(run);
  const std::string key = prefix() + "/vm/disk-0.bin";
  run.expect(store.stat(key).is_null(), "stat() finds what was never put");
  run.at("get() of what is not there");
  run.expect_error("get() of what is not there",
                   [&] {
                     Operation op = operation("get");
                     static_cast<void>((*store).get(op, key));
                   },
                   {Code::kNotFound});
  for (const char* bad : {"../hyperhost-check-escape", "/hyperhost-check-escape",
                          "a/../../hyperhost-check-escape", "a//b", "./a", ""}) {
    run.expect_error("put(\"" + std::string(bad) + "\")",
                     [&] { static_cast<void>(store.put(bad, 1)); });
  }

  auto sink = store.put(key, 0);  // to learn its kind
  const Bytes bytes = disk_bytes(store.size_for(*sink), 3);
  sink.reset();
  sink = store.put(key, bytes.size());
  {
    Operation op = operation("write");
    store.write(*sink, bytes, op);
    if (sink->can(HYPER_SINK_RANDOM)) {
      run.at("zero_at()");
      const hyper_sink& table = sink->table();
      op.check(table.zero_at(table.ctx, &op, 0, 4096, 8192), "zero_at()");
      op.check(table.write_at(table.ctx, &op, 0, 4096, bytes.data() + 4096, 8192), "write_at()");
    }
    run.expect(store.stat(key).is_null(), "it is visible under its name before commit()");
    if (sink->can(HYPER_SINK_READBACK))
      check_source(
          run, "what reopen() reads",
          [&](Operation& opening, uint32_t) { return sink->reopen(opening, bytes.size()); },
          &bytes);
    run.at("commit()");
    const nlohmann::json committed = sink->commit(op, bytes.size());
    run.expect(committed.contains("location") && committed["location"].is_string(),
               "commit() emits no location");
    run.at("close() after commit()");
    sink.reset();
  }
  const nlohmann::json found = store.stat(key);
  run.require(found.is_object(), "stat() does not find what was committed");
  run.expect(found.value("bytes", uint64_t{0}) == bytes.size(), "stat() gives another size");
  const auto keys = store.list();
  run.expect(std::count(keys.begin(), keys.end(), key) == 1,
             "list() does not give what was committed, once");
  check_source(
      run, "what get() reads",
      [&](Operation& opening, uint32_t) { return (*store).get(opening, key); }, &bytes);

  // Nothing is overwritten unasked, neither at put() nor at commit().
  run.expect_error("overwriting without being asked to",
                   [&] {
                     const auto second = store.put(key, 3);
                     Operation op = operation("overwrite");
                     store.write(*second, {1, 2, 3}, op);
                     static_cast<void>(second->commit(op, 3));
                   },
                   {Code::kExists});
  {
    const auto second = store.put(key, 3, true);
    Operation op = operation("overwrite");
    store.write(*second, {1, 2, 3}, op);
    run.at("commit() over what was there");
    static_cast<void>(second->commit(op, 3));
  }
  run.expect(store.stat(key).value("bytes", uint64_t{0}) == 3, "overwriting does not overwrite");
  store.remove(key);
  run.expect(store.stat(key).is_null(), "remove() leaves it there");

  const std::string empty = prefix() + "/empty";
  {
    const auto nothing = store.put(empty, 0);
    Operation op = operation("empty");
    run.at("commit() of nothing");
    static_cast<void>(nothing->commit(op, 0));
  }
  run.expect(store.stat(empty).value("bytes", uint64_t{1}) == 0, "an empty object is not there");
  store.remove(empty);
  run.expect(store.list().empty(), "list() gives what was removed");
}

void case_storage_abort(Run& run) {
  Store store(run);
  const std::string key = prefix() + "/aborted";
  for (const bool cancelled : {false, true}) {
    const auto cancel = CancelSource::create();
    {
      const auto sink = store.put(key, 5u << 20);
      const Bytes bytes = disk_bytes(store.size_for(*sink), 4);
      Operation op = operation("abort", cancel);
      store.write(*sink, bytes, op);
      if (cancelled) {
        cancel->cancel();
        run.at("commit() after the cancel");
        const auto begin = std::chrono::steady_clock::now();
        try {
          static_cast<void>(sink->commit(op, bytes.size()));
          store.remove(key);  // it was quicker than the cancel
        } catch (const Error& error) {
          run.expect(error.code() == Code::kCancelled,
                     "a cancelled commit() fails otherwise: " + std::string(error.what()));
        }
        run.expect(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2),
                   "commit() continues for more than 2 s after the cancel");
      }
      run.at("close() without commit()");
    }
    run.expect(store.stat(key).is_null(), "close() without commit() makes it visible");
    run.expect(store.list().empty(), "close() without commit() leaves something behind");
  }
}

void case_storage_again(Run& run) {
  Store store(run);
  expect_no_growth(run, "putting and aborting", 4, [&] {
    const auto sink = store.put(prefix() + "/again", 4096);
    Operation op = operation("again");
    if (!sink->can(HYPER_SINK_PARTS) || sink->table().part_size > 4096)
      store.write(*sink, Bytes(4096, 7), op);
    run.at("close() without commit()");
  });
  expect_no_growth(run, "connecting and disconnecting", 8, [&] {
    Operation op = operation("connect");
    static_cast<void>(run.connect_storage(op));
  });
}

}  // namespace hyperhost::check
