// SPDX-License-Identifier: Apache-2.0
// hyper.storage/1: what a sink can do beyond being written once in order. Ranges that zero_at()
// clears, lengths that commit() sets, writes from several threads, objects that keep() leaves.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "core/check/checked_store.hpp"
#include "core/check/large_disk.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kThreads = 4;
constexpr uint64_t kLargestPart = 8u << 20;  // for sinks that are written in parallel

std::string place(uint64_t offset, uint64_t length) {
  return "(" + std::to_string(offset) + ", " + std::to_string(length) + ")";
}

void write(SinkHandle& sink, Operation& op, uint64_t offset, const Bytes& bytes) {
  const hyper_sink& table = sink.table();
  op.check(table.write_at(table.ctx, &op, 0, offset, bytes.data(), bytes.size()), "write_at()");
}

void zeroed(Run& run, CheckedStore& store, const std::string& key) {
  const auto sink = store.put(key, 0);
  if (!sink->can(HYPER_SINK_RANDOM)) return;
  const uint64_t block = sink->table().block_min;
  // In the middle of what was written, across its end, and behind it.
  const std::vector<std::pair<uint64_t, uint64_t>> ranges{
      {(4096 / block + 1) * block, (8192 / block + 3) * block},
      {(60'000 / block) * block, (10'000 / block + 1) * block},
      {(90'000 / block) * block, (5'000 / block + 1) * block}};
  Bytes bytes(65'536 / block * block, 0xA5);
  Operation op = operation("zero");
  run.at("write_at(0, " + std::to_string(bytes.size()) + ")");
  write(*sink, op, 0, bytes);
  bytes.resize(128 * 1024 / block * block, 0);
  for (const auto& [offset, length] : ranges) {
    run.at("zero_at" + place(offset, length));
    const hyper_sink& table = sink->table();
    op.check(table.zero_at(table.ctx, &op, 0, offset, length), "zero_at()");
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), length,
                static_cast<unsigned char>(0));
  }
  store.commit(*sink, key, bytes.size());
  const Bytes found = store.get(key, bytes.size());
  store.remove(key);
  if (found.empty()) return;
  const auto at = std::mismatch(found.begin(), found.end(), bytes.begin());
  if (at.first == found.end()) return;
  run.fail(std::string("zero_at() ") +
           (*at.second == 0 ? "does not zero" : "changes bytes beside its range:") + " byte " +
           std::to_string(at.first - found.begin()));
}

/// commit() decides the length, not what was written.
void ends_where_commit_says(Run& run, CheckedStore& store, const std::string& key) {
  for (const uint64_t length : {uint64_t{10'000} * 4096, uint64_t{4096}}) {
    const auto sink = store.put(key, length);
    if (!sink->can(HYPER_SINK_RANDOM)) return;
    const Bytes bytes = disk_bytes(2 * 4096, 5);
    Operation op = operation("length");
    run.at("write_at(0, 8192)");
    write(*sink, op, 0, bytes);
    const std::string call = "commit(" + std::to_string(length) + ")";
    const bool shorter = length < bytes.size();
    try {
      store.commit(*sink, key, length);
    } catch (const Error& error) {
      // A storage may refuse to cut off what was written; it never makes another object.
      run.expect(shorter, call + " after 8192 bytes were written fails: " + error.what());
      run.expect_error(call, [&] { throw Error(error.diagnostic()); });
      run.expect(store.stat(key).is_null(), call + " fails and leaves the object there");
      continue;
    }
    Bytes expected = bytes;
    expected.resize(length, 0);
    const auto found = store.stat(key);
    run.expect(found.is_object() && found.value("bytes", uint64_t{0}) == length,
               call + " after 8192 bytes were written makes an object of " +
                   found.value("bytes", nlohmann::json()).dump() + " bytes");
    const Bytes there = store.get(key, length);
    run.expect(there.empty() || there == expected,
               call + " after 8192 bytes were written: the object has other bytes");
    store.remove(key);
  }
}

/// What reopen(length) reads is what commit(length) would make.
void reopened(Run& run, CheckedStore& store, const std::string& key) {
  const auto sink = store.put(key, 0);
  if (!sink->can(HYPER_SINK_READBACK | HYPER_SINK_RANDOM)) return;
  Operation op = operation("reopen");
  Bytes bytes = disk_bytes(3 * 4096, 6);
  run.at("write_at(0, 12288)");
  write(*sink, op, 0, bytes);
  const uint64_t length = 5 * 4096;
  run.at("reopen(" + std::to_string(length) + ")");
  const auto source = sink->reopen(op, length);
  bytes.resize(length, 0);
  run.require(source->length() == length, "reopen(" + std::to_string(length) + ") is " +
                                              std::to_string(source->length()) + " bytes");
  Bytes found(length, 0x5A);
  source->read_at(op, 0, found.data(), length);
  run.expect(found == bytes,
             "reopen(" + std::to_string(length) + ") reads other bytes than commit() would make");
}

/// Threads that write each its own pieces, mixed with those of the others.
void parallel(Run& run, CheckedStore& store, const std::string& key) {
  auto sink = store.put(key, 0);
  const bool parts = sink->can(HYPER_SINK_PARTS);
  if (sink->gate() || sink->table().max_parallel < 2 || !(parts || sink->can(HYPER_SINK_RANDOM)) ||
      (parts && sink->table().part_size > kLargestPart))
    return;
  const uint64_t block = sink->table().block_min;
  const uint64_t step = parts ? sink->table().part_size : (1'000 / block + 1) * block;
  const uint64_t count = parts ? 4 : 4000;
  const Bytes bytes = disk_bytes(step * count, 7);
  std::vector<uint64_t> order(count);
  for (uint64_t i = 0; i < count; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  sink.reset();
  sink = store.put(key, bytes.size());
  run.at("write_at() of \"" + key + "\" on several threads");
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < std::min<uint64_t>(kThreads, sink->table().max_parallel); ++i)
    threads.emplace_back([&] {
      Operation op = operation("parallel");
      try {
        for (uint64_t at = next++; at < count; at = next++) {
          const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(order[at] * step);
          write(*sink, op, order[at] * step, Bytes(from, from + static_cast<std::ptrdiff_t>(step)));
        }
      } catch (const std::exception& error) {
        run.fail(std::string("write_at() on several threads fails: ") + error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
  store.commit(*sink, key, bytes.size());
  const Bytes found = store.get(key, bytes.size());
  store.remove(key);
  if (found.empty() || found == bytes) return;
  const auto at = std::mismatch(found.begin(), found.end(), bytes.begin());
  run.fail("write_at() on several threads: byte " + std::to_string(at.first - found.begin()) +
           " is not what was written there");
}

/// keep() leaves the object for a later put(), which cuts it where the request says.
void kept(Run& run, CheckedStore& store, const std::string& key) {
  auto sink = store.put(key, 0);
  if (!sink->can(HYPER_SINK_RESUME)) return;
  const Bytes bytes = disk_bytes(store.size_for(*sink), 8);
  const uint64_t half =
      sink->can(HYPER_SINK_PARTS) ? sink->table().part_size : (1u << 20) + 4096u * 3;
  Operation op = operation("keep");
  const auto first_half = [&] {
    write(*sink, op, 0, Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(half)));
    if (sink->can(HYPER_SINK_RANDOM)) write(*sink, op, half, Bytes(8192, 0xEE));
    if (sink->table().sync != nullptr)
      op.check(sink->table().sync(sink->table().ctx, &op, 0), "sync()");
  };
  run.at("write_at() before keep()");
  first_half();
  run.at("keep(on)");
  const nlohmann::json token = sink->keep(op);
  run.require(!token.empty(), "keep(on) emits no token");
  run.at("close() after keep(on)");
  sink.reset();
  run.expect(store.stat(key).is_null(), "keep(on) makes the object visible under its name");
  nlohmann::json request = CheckedStore::request(key, bytes.size());
  request["resume"] = token;
  request["resume_length"] = half;
  run.at("put() with \"resume\" of \"" + key + "\"");
  try {
    sink = (*store).put(op, request);
  } catch (const Error& error) {
    run.stop(std::string("put() with \"resume\" of what keep(on) left fails: ") + error.what());
  }
  run.at("write_at(" + std::to_string(half) + ", …) after a resume");
  // From its half on, in order: what lay behind was dropped, and reads as zeros until written.
  const uint64_t behind = sink->can(HYPER_SINK_RANDOM) ? half + 4096 : half;
  const uint64_t step = sink->can(HYPER_SINK_PARTS) ? half : bytes.size();
  for (uint64_t at = behind; at < bytes.size(); at += step)
    write(*sink, op, at,
          Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, bytes.size()))));
  Bytes expected = bytes;
  std::fill(expected.begin() + static_cast<std::ptrdiff_t>(half),
            expected.begin() + static_cast<std::ptrdiff_t>(behind), static_cast<unsigned char>(0));
  store.commit(*sink, key, bytes.size());
  sink.reset();
  const Bytes found = store.get(key, bytes.size());
  const auto at = std::mismatch(found.begin(), found.end(), expected.begin());
  run.expect(found.empty() || at.first == found.end(),
             "put() with \"resume\" and resume_length " + std::to_string(half) + ": byte " +
                 std::to_string(at.first - found.begin()) + " of the object is another");
  store.remove(key);

  const std::size_t usual = store.files();
  sink = store.put(key, 0);
  first_half();
  static_cast<void>(sink->keep(op));
  run.at("keep(off)");
  sink->drop(op);
  run.at("close() after keep(off)");
  sink.reset();
  run.expect(store.files() <= usual, "keep(off) and close() leave a file behind");
  request["resume"] = token;
  run.expect_error("put() with \"resume\" of what is gone",
                   [&] { static_cast<void>((*store).put(op, request)); }, {Code::kNotFound});
}

/// A place beyond 4 GiB, where files have holes: in a directory of the suite's own.
void beyond_4_gib(Run& run, CheckedStore& store, const std::string& key) {
  if (run.made_directory(HYPER_IFACE_STORAGE).empty()) return;
  const auto sink = store.put(key, 0);
  // Objects in memory are no place for 4 GiB: only a storage that writes files.
  if (!sink->can(HYPER_SINK_RANDOM) || store.files() == 0) return;
  const uint64_t offset = (uint64_t{1} << 32) - 4096;
  const Bytes bytes = disk_bytes(3 * 4096, 9);
  Operation op = operation("large");
  run.at("write_at" + place(offset, bytes.size()));
  write(*sink, op, 0, Bytes(8192, 0x11));
  for (uint64_t at = 0; at < bytes.size(); at += 4096)
    write(*sink, op, offset + at,
          Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                bytes.begin() + static_cast<std::ptrdiff_t>(at + 4096)));
  store.commit(*sink, key, offset + bytes.size());
  run.at("get(\"" + key + "\") of more than 4 GiB");
  const auto source = (*store).get(op, key);
  Bytes found(bytes.size());
  if (source->length() != offset + bytes.size())
    run.fail("commit(" + std::to_string(offset + bytes.size()) + ") makes an object of " +
             std::to_string(source->length()) + " bytes");
  else
    source->read_at(op, offset, found.data(), found.size());
  run.expect(found == bytes, "write_at" + place(offset, bytes.size()) +
                                 ": get() does not read there what was written");
  store.remove(key);
}

}  // namespace

void case_storage_sinks(Run& run) {
  CheckedStore store(run);
  const std::string key = CheckedStore::prefix() + "/sink";
  zeroed(run, store, key);
  ends_where_commit_says(run, store, key);
  reopened(run, store, key);
  parallel(run, store, key);
  kept(run, store, key);
  beyond_4_gib(run, store, key);
}

void case_storage_keys(Run& run) {
  CheckedStore store(run);
  const std::string base = CheckedStore::prefix() + "/";
  std::vector<std::string> keys{base + "vm/disk-0.raw",
                                base + "vm-2/disk 1 (copy).raw",
                                base + "vm/.hidden/.disk",
                                base + "vm/..disk",
                                base + "\xc3\xa4\xe5\xa4\xa7 #%20&+?.bin",
                                base + std::string(200, 'n')};
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) {
    try {
      store.store(key, {1, 2, 3});
    } catch (const Error& error) {
      run.fail("put(\"" + key + "\") of a good key fails: " + error.what());
    }
  }
  run.expect(store.list(CheckedStore::prefix()) == keys,
             "list() does not give the keys that were put");
  // A prefix is the beginning of a key, not a directory.
  run.expect(store.list(base + "vm").size() == 4,
             "list(\"" + base + "vm\") does not give all keys that begin so");
  run.expect(store.list(base + "vm/").size() == 3,
             "list(\"" + base + "vm/\") does not give all keys that begin so");
  for (const std::string& key : keys) {
    run.expect(store.get(key, 3) == Bytes{1, 2, 3}, "get(\"" + key + "\") reads other bytes");
    store.remove(key);
  }
  run.expect(store.list(CheckedStore::prefix()).empty(), "remove() leaves a key there");
}

}  // namespace hyperhost::check
