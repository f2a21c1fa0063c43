// SPDX-License-Identifier: Apache-2.0
// What stands between a plugin's sources and sinks and their users: a serial plugin is called once
// at a time, a wrapped table promises no more than the one below, and both are closed once.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "core/plugin/filter/throttled_source.hpp"
#include "core/plugin/handles.hpp"

namespace hyperhost {
namespace {

/// How many calls are inside the plugin at once.
class Inside {
 public:
  /// Waits a while for a second call to come in.
  void call() {
    std::unique_lock lock(mutex_);
    ++calls_;
    most_ = std::max(most_, ++now_);
    changed_.notify_all();
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return now_ > 1; });
    --now_;
  }
  int most() const { return most_; }
  int calls() const { return calls_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int now_ = 0, most_ = 0, calls_ = 0;
};

Inside* inside = nullptr;
std::atomic<int> closed{0};

template <std::size_t kSize>
hyper_st answer(hyper_emit emit, void* arg, const char (&json)[kSize]) {
  return emit(arg, json, kSize - 1);
}

/// Each call of it is counted in `inside`, where there is one.
hyper_source counted_source() {
  hyper_source table{};
  table.size = sizeof table;
  table.flags = HYPER_SOURCE_SEEK;
  table.length = 4096;
  table.block_min = 1;
  table.max_parallel = 4;
  table.read_at = [](void*, hyper_op*, uint32_t, uint64_t, void* buf, uint64_t len) noexcept {
    if (inside != nullptr) inside->call();
    std::memset(buf, 1, len);
    return HYPER_OK;
  };
  table.close = [](void*, hyper_op*) noexcept { ++closed; };
  return table;
}

hyper_sink counted_sink() {
  hyper_sink table{};
  table.size = sizeof table;
  table.flags = HYPER_SINK_RANDOM | HYPER_SINK_READBACK;
  table.block_min = 1;
  table.max_parallel = 4;
  table.write_at = [](void*, hyper_op*, uint32_t, uint64_t, const void*, uint64_t) noexcept {
    if (inside != nullptr) inside->call();
    return HYPER_OK;
  };
  table.zero_at = [](void*, hyper_op*, uint32_t, uint64_t, uint64_t) noexcept {
    if (inside != nullptr) inside->call();
    return HYPER_OK;
  };
  table.reopen = [](void*, hyper_op*, uint32_t, uint64_t, hyper_source* out) noexcept {
    *out = counted_source();
    return HYPER_OK;
  };
  table.commit = [](void*, hyper_op*, uint32_t, uint64_t, hyper_emit emit, void* arg) noexcept {
    return answer(emit, arg, R"({"location": "key", "bytes": 0})");
  };
  table.close = [](void*, hyper_op*) noexcept { ++closed; };
  return table;
}

/// A store whose sinks are counted_sink().
hyper_storage counted_storage() {
  hyper_storage table{};
  table.size = sizeof table;
  table.connect = [](hyper_op*, uint32_t, const hyper_doc*, void**) noexcept { return HYPER_OK; };
  table.disconnect = [](void*, hyper_op*) noexcept {};
  table.put = [](void*, hyper_op*, uint32_t, const hyper_doc*, hyper_sink* out) noexcept {
    *out = counted_sink();
    return HYPER_OK;
  };
  table.get = [](void*, hyper_op*, uint32_t, const char*, hyper_source* out) noexcept {
    *out = counted_source();
    return HYPER_OK;
  };
  return table;
}

std::unique_ptr<Plugin> plugin_of(PluginTables tables, bool serial = true) {
  tables.serial = serial;
  return Plugin::of_tables("counted", "1", tables, [] {});
}

class Filters : public ::testing::Test {
 protected:
  Filters() {
    inside = &inside_;
    closed = 0;
    tables_.storage = counted_storage();
  }
  ~Filters() override { inside = nullptr; }

  /// Both on threads of their own, at once.
  template <class First, class Second>
  void at_once(First first, Second second) {
    std::jthread other(first);
    second();
  }

  Inside inside_;
  PluginTables tables_;
  Operation op_{"vm", CancelSource::create()};
};

TEST_F(Filters, ASerialPluginsSinksAreCalledOnceAtATime) {
  const auto plugin = plugin_of(tables_);
  StorageHandle store(*plugin, Options(), op_);
  const auto first = store.put(op_, {}), second = store.put(op_, {});
  const hyper_sink &one = first->table(), &two = second->table();
  EXPECT_EQ(one.max_parallel, 1u);
  const char byte = 0;
  at_once([&] { one.write_at(one.ctx, &op_, 0, 0, &byte, 1); },
          [&] { two.write_at(two.ctx, &op_, 0, 0, &byte, 1); });
  at_once([&] { one.zero_at(one.ctx, &op_, 0, 0, 1); },
          [&] { one.zero_at(one.ctx, &op_, 0, 1, 1); });
  EXPECT_EQ(inside_.calls(), 4);
  EXPECT_EQ(inside_.most(), 1);
}

TEST_F(Filters, ASerialPluginsSourcesAreCalledOnceAtATimeWhereverTheyCameFrom) {
  const auto plugin = plugin_of(tables_);
  StorageHandle store(*plugin, Options(), op_);
  const auto sink = store.put(op_, {});
  const auto reopened = sink->reopen(op_, 4096), got = store.get(op_, "key");
  char one[16], two[16];
  at_once([&] { reopened->read_at(op_, 0, one, sizeof one); },
          [&] { got->read_at(op_, 0, two, sizeof two); });
  EXPECT_EQ(inside_.calls(), 2);
  EXPECT_EQ(inside_.most(), 1);
}

TEST_F(Filters, AParallelPluginsSinksAreLeftAlone) {
  const auto plugin = plugin_of(tables_, false);
  StorageHandle store(*plugin, Options(), op_);
  const auto sink = store.put(op_, {});
  const hyper_sink& table = sink->table();
  EXPECT_EQ(table.max_parallel, 4u);
  EXPECT_EQ(table.write_at, counted_sink().write_at);
}

TEST_F(Filters, EachTableIsClosedOnce) {
  for (const bool serial : {true, false}) {
    closed = 0;
    const auto plugin = plugin_of(tables_, serial);
    StorageHandle store(*plugin, Options(), op_);
    {
      const auto sink = store.put(op_, {});
      sink->watch([](uint64_t) {});
      sink->reopen(op_, 4096);
      EXPECT_EQ(closed, 1) << "the source that was reopened";
      sink->commit(op_, 4096);
    }
    EXPECT_EQ(closed, 2) << "and the sink";
  }
}

TEST_F(Filters, AWatchedSinkHasNoCallThatItsPluginDoesNotHave) {
  for (const bool serial : {true, false}) {
    const auto plugin = plugin_of(tables_, serial);
    StorageHandle store(*plugin, Options(), op_);
    const auto sink = store.put(op_, {});
    std::atomic<uint64_t> bytes{0};
    sink->watch([&](uint64_t more) { bytes += more; });
    const hyper_sink& table = sink->table();
    EXPECT_EQ(table.sync, nullptr);
    EXPECT_EQ(table.path, nullptr);
    EXPECT_EQ(table.keep, nullptr);
    ASSERT_NE(table.zero_at, nullptr);
    EXPECT_EQ(table.zero_at(table.ctx, &op_, 0, 0, 8), HYPER_OK);
    const char byte = 0;
    EXPECT_EQ(table.write_at(table.ctx, &op_, 0, 0, &byte, 1), HYPER_OK);
    EXPECT_EQ(bytes, 1u);
  }
}

TEST_F(Filters, AThrottledSourceHasNoCallThatItsPluginDoesNotHave) {
  const auto plugin = plugin_of(tables_);
  StorageHandle store(*plugin, Options(), op_);
  const auto bandwidth = std::make_shared<Bandwidth>();
  bandwidth->sources().set(1u << 30);
  const auto source = throttled(store.get(op_, "key"), bandwidth, true);
  const hyper_source& table = source->table();
  EXPECT_NE(table.read_at, nullptr);
  EXPECT_EQ(table.next, nullptr);
  EXPECT_EQ(table.borrow, nullptr);
  EXPECT_EQ(table.release, nullptr);
  EXPECT_EQ(table.extents, nullptr);
  EXPECT_EQ(table.locate, nullptr);
  EXPECT_EQ(table.sibling, nullptr);
  EXPECT_EQ(table.finish, nullptr);
}

/// Reads the source and writes the sink on a thread of its own. Where that does not come back, no
/// lock would let the test end: the process does.
hyper_st convert_elsewhere(void*, hyper_op* op, uint32_t, const hyper_doc*,
                           const hyper_source* source, const hyper_sink* sink, hyper_emit emit,
                           void* arg) noexcept {
  auto done = std::make_shared<std::promise<void>>();
  auto over = done->get_future();
  std::thread([=, from = *source, to = *sink] {
    char bytes[16] = {};
    from.read_at(from.ctx, op, 0, 0, bytes, sizeof bytes);
    to.write_at(to.ctx, op, 0, 0, bytes, sizeof bytes);
    done->set_value();
  }).detach();
  if (over.wait_for(std::chrono::seconds(5)) != std::future_status::ready) std::_Exit(3);
  return answer(emit, arg, R"({"virtual_size": 16, "bytes_written": 16})");
}

TEST_F(Filters, ASerialConverterUsesItsOwnPluginsSourceAndSinkOnAnyThread) {
  tables_.converter.size = sizeof tables_.converter;
  tables_.converter.open = [](hyper_op*, uint32_t, const hyper_doc*, void**) noexcept {
    return HYPER_OK;
  };
  tables_.converter.close = [](void*, hyper_op*) noexcept {};
  tables_.converter.convert = convert_elsewhere;
  const auto plugin = plugin_of(tables_);
  StorageHandle store(*plugin, Options(), op_);
  ConverterHandle converter(*plugin, Options(), op_);
  const auto source = store.get(op_, "key");
  const auto sink = store.put(op_, {});
  sink->watch([](uint64_t) {});
  converter.convert(op_, {}, *source, *sink);
  EXPECT_EQ(inside_.calls(), 2);
}

/// An image's reader that reads its file on a thread of its own, as one in a process of its own is
/// served.
struct Elsewhere {
  const hyper_source* file;
};
hyper_st read_elsewhere(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                        uint64_t len) noexcept {
  const hyper_source& file = *static_cast<Elsewhere*>(ctx)->file;
  hyper_st status = HYPER_FAIL;
  std::jthread([&] { status = file.read_at(file.ctx, op, flags, offset, buf, len); });
  return status;
}
hyper_st open_elsewhere(hyper_op*, uint32_t, const hyper_doc*, const hyper_source* file,
                        const hyper_doc*, hyper_source* out) noexcept {
  *out = counted_source();
  out->ctx = new Elsewhere{file};
  out->read_at = read_elsewhere;
  out->close = [](void* ctx, hyper_op*) noexcept { delete static_cast<Elsewhere*>(ctx); };
  return HYPER_OK;
}

TEST_F(Filters, ASerialReaderOfImagesReadsItsOwnPluginsSourceOnAnyThread) {
  tables_.image.size = sizeof tables_.image;
  tables_.image.open = open_elsewhere;
  const auto plugin = plugin_of(tables_);
  StorageHandle store(*plugin, Options(), op_);
  const ImageReader reader(*plugin, Options());
  const std::shared_ptr<SourceHandle> file = store.get(op_, "key");
  const auto image = reader.open(op_, file, "");
  auto read = std::make_shared<std::promise<char>>();
  auto answer = read->get_future();
  std::thread([&, read] {
    char byte = 0;
    image->read_at(op_, 0, &byte, 1);
    read->set_value(byte);
  }).detach();
  if (answer.wait_for(std::chrono::seconds(5)) != std::future_status::ready) std::_Exit(3);
  EXPECT_EQ(answer.get(), 1);
  // Outside of the reader's calls the file is locked like any other of the plugin's sources.
  const auto sink = store.put(op_, {});
  char byte = 0;
  at_once([&] { file->read_at(op_, 0, &byte, 1); },
          [&] { sink->table().zero_at(sink->table().ctx, &op_, 0, 0, 1); });
  EXPECT_EQ(inside_.most(), 1);
}

}  // namespace
}  // namespace hyperhost
