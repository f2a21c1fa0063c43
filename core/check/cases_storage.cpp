// SPDX-License-Identifier: Apache-2.0
// hyper.storage/1: what is committed is there and whole, what is not leaves nothing.
#include <algorithm>
#include <chrono>

#include "core/check/checked_store.hpp"
#include "core/check/resources.hpp"
#include "core/check/source_suite.hpp"

namespace hyperhost::check {
namespace {

void refused_keys(Run& run, CheckedStore& store) {
  for (const char* bad : {"../hyperhost-check-escape", "/hyperhost-check-escape",
                          "a/../../hyperhost-check-escape", "a//b", "./a", ""}) {
    run.expect_error("put(\"" + std::string(bad) + "\")",
                     [&] { static_cast<void>(store.put(bad, 1)); });
  }
}

/// Nothing is overwritten unasked, neither at put() nor at commit(), and nothing too early.
void overwriting(Run& run, CheckedStore& store, const std::string& key, const Bytes& old) {
  run.expect_error("overwriting without being asked to",
                   [&] {
                     store.store(key, {1, 2, 3}, false);
                   },
                   {Code::kExists});
  {
    const auto second = store.put(key, 3, true);
    Operation op = operation("overwrite");
    store.write(*second, {1, 2, 3}, op);
    run.at("close() without commit() of what should overwrite");
  }
  run.expect(store.get(key, old.size()) == old,
             "put() that may overwrite changes the old object before commit()");
  store.store(key, {1, 2, 3}, true);
  run.expect(store.stat(key).value("bytes", uint64_t{0}) == 3, "overwriting does not overwrite");
}

/// Two that were put before either was there: the second commit() finds the first one's object.
void racing(Run& run, CheckedStore& store, const std::string& key) {
  const auto first = store.put(key, 3), second = store.put(key, 4);
  Operation op = operation("race");
  store.write(*first, {1, 2, 3}, op);
  store.write(*second, {4, 5, 6, 7}, op);
  store.commit(*first, key, 3);
  run.expect_error("commit() of a key that another sink took since put()",
                   [&] { store.commit(*second, key, 4); }, {Code::kExists});
  run.expect(store.get(key, 3) == Bytes{1, 2, 3},
             "commit() of a key that another sink took replaces its object");
}

void checksum(Run& run, const nlohmann::json& document, const Bytes& bytes, const char* call) {
  const auto sum = document.value("checksum", nlohmann::json());
  if (sum.is_string() && sum.get<std::string>().rfind("sha256:", 0) == 0)
    run.expect(sum.get<std::string>() == "sha256:" + sha256_of(bytes),
               std::string(call) + ": its checksum is not that of the object's bytes");
}

}  // namespace

void case_storage(Run& run) {
  CheckedStore store(run);
  const std::string key = CheckedStore::prefix() + "/vm/disk-0.bin";
  run.expect(store.stat(key).is_null(), "stat() finds what was never put");
  run.at("get() of what is not there");
  run.expect_error("get() of what is not there",
                   [&] {
                     Operation op = operation("get");
                     static_cast<void>((*store).get(op, key));
                   },
                   {Code::kNotFound});
  run.expect_error("remove() of what is not there", [&] { store.remove(key); }, {Code::kNotFound});
  refused_keys(run, store);

  const std::string made = run.made_directory(HYPER_IFACE_STORAGE);
  const auto all = made.empty() ? std::vector<std::string>() : store.list("");
  auto sink = store.put(key, 0);  // to learn its kind
  const Bytes bytes = disk_bytes(store.size_for(*sink), 3);
  sink.reset();
  sink = store.put(key, bytes.size());
  nlohmann::json committed;
  {
    Operation op = operation("write");
    store.write(*sink, bytes, op);
    run.expect(store.stat(key).is_null(), "it is visible under its name before commit()");
    run.expect(
        store.list(CheckedStore::prefix()).empty() && (made.empty() || store.list("") == all),
        "list() gives what is not committed yet");
    if (sink->can(HYPER_SINK_READBACK))
      check_source(
          run, "what reopen() reads",
          [&](Operation& opening, uint32_t) { return sink->reopen(opening, bytes.size()); },
          &bytes);
    committed = store.commit(*sink, key, bytes.size());
    run.at("close() after commit()");
    sink.reset();
  }
  checksum(run, committed, bytes, "commit()");
  const nlohmann::json found = store.stat(key);
  run.require(found.is_object(), "stat() does not find what was committed");
  run.expect(found.value("bytes", uint64_t{0}) == bytes.size(), "stat() gives another size");
  checksum(run, found, bytes, "stat()");
  run.expect(store.list(CheckedStore::prefix()) == std::vector<std::string>{key},
             "list() does not give what was committed, once");
  check_source(
      run, "what get() reads",
      [&](Operation& opening, uint32_t) { return (*store).get(opening, key); }, &bytes, true);

  overwriting(run, store, key, bytes);
  store.remove(key);
  run.expect(store.stat(key).is_null(), "remove() leaves it there");
  racing(run, store, key);
  store.remove(key);

  const std::string empty = CheckedStore::prefix() + "/empty";
  store.store(empty, {});
  run.expect(store.stat(empty).value("bytes", uint64_t{1}) == 0, "an empty object is not there");
  store.remove(empty);
  run.expect(store.list(CheckedStore::prefix()).empty(), "list() gives what was removed");
}

void case_storage_abort(Run& run) {
  const auto journal = file_journal(run.scratch() + "/journal");
  keep_journal(journal);
  CheckedStore store(run);
  const std::string key = CheckedStore::prefix() + "/aborted";
  store.store(key, {1});  // what a storage has for itself is there now
  store.remove(key);
  const std::size_t usual = store.files();
  const auto nothing_is_left = [&](const std::string& call) {
    run.expect(store.files() <= usual, call + " leaves a file in the storage's directory");
    for (const auto& entry : open_entries(*journal))
      run.fail(call + " leaves a journal entry open: " + entry.dump());
  };
  nothing_is_left("commit()");
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
    run.expect(store.list(CheckedStore::prefix()).empty(),
               "close() without commit() leaves something behind");
    nothing_is_left("close() without commit()");
  }
}

void case_storage_again(Run& run) {
  CheckedStore store(run);
  const std::string key = CheckedStore::prefix() + "/again";
  const Bytes bytes(4096, 7);
  expect_no_growth(run, "put() and close() without commit()", 4, [&] {
    const auto sink = store.put(key, 4096);
    Operation op = operation("again");
    if (!sink->can(HYPER_SINK_PARTS) || sink->table().part_size > 4096)
      store.write(*sink, bytes, op);
    run.at("close() without commit()");
  });
  expect_no_growth(run, "put(), reopen() and commit()", 4, [&] {
    const auto sink = store.put(key, bytes.size(), true);
    Operation op = operation("again");
    store.write(*sink, bytes, op);
    if (sink->can(HYPER_SINK_READBACK)) {
      run.at("reopen()");
      static_cast<void>(sink->reopen(op, bytes.size()));
    }
    store.commit(*sink, key, bytes.size());
  });
  expect_no_growth(run, "get()", 8, [&] { store.get(key, bytes.size()); });
  expect_no_growth(run, "stat()", 8, [&] { store.stat(key); });
  expect_no_growth(run, "list()", 8, [&] { store.list(CheckedStore::prefix()); });
  store.remove(key);
  expect_no_growth(run, "connect() and disconnect()", 8, [&] {
    Operation op = operation("connect");
    static_cast<void>(run.connect_storage(op));
  });
}

}  // namespace hyperhost::check
