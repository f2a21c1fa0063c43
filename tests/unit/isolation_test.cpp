// SPDX-License-Identifier: Apache-2.0
// What a worker's death, at the worst instants, leaves of the host's calls; and what a worker that
// means ill gets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/isolation/isolated_plugin.hpp"
#include "core/plugin/isolation/offered.hpp"
#include "core/plugin/isolation/shared_memory.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::unique_ptr<Plugin> zoo(const char* way) {
  ::setenv("HYPER_ZOO", way, 1);
  return isolation::load_isolated(TEST_PLUGIN_DIR "/zoo.so", "zoo", {0, {"HYPER_ZOO"}, {}});
}

/// All children of this process: the one worker.
void kill_children() {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const int pid = std::atoi(entry.path().filename().c_str());
    std::string stat;
    if (pid <= 0 || !std::getline(std::ifstream(entry.path() / "stat"), stat)) continue;
    char state = 0;
    int parent = 0;
    const char* rest = std::strrchr(stat.c_str(), ')');
    if (rest != nullptr && std::sscanf(rest, ") %c %d", &state, &parent) == 2 &&
        parent == ::getpid())
      ::kill(pid, SIGKILL);
  }
}

void expect_gone(Operation& op, hyper_st status, const char* why) {
  try {
    op.check(status, "the call");
    ADD_FAILURE() << "it did not fail";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(why));
    EXPECT_TRUE(error.diagnostic().retryable) << error.what();
  }
}

TEST(Isolation, EveryCallAfterTheDeathSaysWhatOf) {
  const auto plugin = zoo("crash-in-read");
  const hyper_provider& provider = *plugin->provider();
  Operation op("vm", CancelSource::create());
  const Options options(nlohmann::json{{"letter", "z"}});
  const hyper_doc request{nlohmann::json{{"vm", "demo"}}};
  void *connection = nullptr, *vm = nullptr;
  op.check(provider.connect(&op, 0, &options, &connection), "connect");
  op.check(provider.open_vm(connection, &op, 0, &request, &vm), "open_vm");
  hyper_source source{};
  source.size = sizeof source;
  op.check(provider.open_disk(vm, &op, 0, "disk-0", &source), "open_disk");
  char buffer[512];
  // The first dies in mid-call, the others find it dead.
  for (int i = 0; i < 3; ++i)
    expect_gone(op, source.read_at(source.ctx, &op, 0, 0, buffer, sizeof buffer), "crashed");
  hyper_source other{};
  other.size = sizeof other;
  expect_gone(op, provider.open_disk(vm, &op, 0, "disk-0", &other), "crashed");
  source.close(source.ctx, &op);
  EXPECT_EQ(provider.close_vm(vm, &op, HYPER_FAIL), HYPER_OK);
  // The next attempt gets a fresh worker.
  op.check(provider.open_vm(connection, &op, 0, &request, &vm), "open_vm");
  EXPECT_EQ(provider.close_vm(vm, &op, HYPER_OK), HYPER_OK);
  provider.disconnect(connection, &op);
}

TEST(Isolation, ACallOfADeadWorkerEndsWhenNothingIsDoneForItAnyMore) {
  const auto plugin = zoo("");
  const hyper_converter& converter = *plugin->converter();
  Operation op("disk", CancelSource::create());
  const Options options(nlohmann::json::object());
  void* self = nullptr;
  op.check(converter.open(&op, 0, &options, &self), "open");
  hyper_source source{};
  source.size = sizeof source;
  source.flags = HYPER_SOURCE_SEEK;
  source.length = 1 << 20;
  source.block_min = 1;
  source.max_parallel = 1;
  source.read_at = [](void*, hyper_op*, uint32_t, uint64_t, void* buf, uint64_t len) noexcept {
    std::memset(buf, 7, len);
    return HYPER_OK;
  };
  std::atomic<bool> writing{false};
  hyper_sink sink{};
  sink.size = sizeof sink;
  sink.flags = HYPER_SINK_RANDOM | HYPER_SINK_APPEND;
  sink.block_min = 1;
  sink.max_parallel = 1;
  sink.ctx = &writing;
  sink.write_at = [](void* ctx, hyper_op*, uint32_t, uint64_t, const void*, uint64_t) noexcept {
    auto& flag = *static_cast<std::atomic<bool>*>(ctx);
    flag = true;
    kill_children();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // the host hears of it meanwhile
    flag = false;
    return HYPER_OK;
  };
  const hyper_st status = converter.convert(
      self, &op, 0, &options, &source, &sink,
      [](void*, const char*, uint64_t) noexcept { return HYPER_OK; }, nullptr);
  EXPECT_FALSE(writing) << "the sink's owner would end it under the writer";
  expect_gone(op, status, "SIGKILL");
  converter.close(self, &op);
}

// --- memory that both see -----------------------------------------------------------------------

using isolation::Frame;
using isolation::Peer;
using isolation::SharedBuffers;
using isolation::SharedMemory;
using isolation::Verb;
constexpr uint64_t kAll = SharedMemory::kBytes;

TEST(IsolationMemory, OnlyRangesThatLieInItWholeHaveAPlace) {
  const auto memory = SharedMemory::create();
  ASSERT_TRUE(memory);
  unsigned char* const begin = memory->at(0, kAll);
  EXPECT_EQ(memory->place_of(begin, kAll), 0u);
  EXPECT_EQ(memory->place_of(begin + kAll - 1, 1), kAll - 1);
  for (const auto& [data, length] : {std::pair<const unsigned char*, uint64_t>{begin, kAll + 1},
                                     {begin + 1, kAll},
                                     {begin + 1, UINT64_MAX},
                                     {begin - 1, 1},
                                     {begin - 1, UINT64_MAX},
                                     {begin + kAll, 1},
                                     {nullptr, 1}}) {
    EXPECT_EQ(memory->place_of(data, length), SharedMemory::kNowhere) << length;
    EXPECT_EQ(SharedMemory::holding(data, length), nullptr) << length;
  }
  EXPECT_EQ(SharedMemory::holding(begin + 5, 10), memory);
  for (const auto& [place, length] : {std::pair<uint64_t, uint64_t>{0, kAll + 1},
                                      {kAll, 1},
                                      {kAll + 1, 0},
                                      {1, UINT64_MAX},
                                      {UINT64_MAX, 2},
                                      {UINT64_MAX - 1, UINT64_MAX}})
    EXPECT_THROW(memory->at(place, length), Error) << place << " " << length;
}

TEST(IsolationMemory, BuffersThatWereGivenBackAreGivenOutAgainEmpty) {
  const auto memory = SharedMemory::create();
  ASSERT_TRUE(memory);
  SharedBuffers buffers(memory);
  void* const first = buffers.take(5000);
  void* const second = buffers.take(1);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(memory->place_of(second, 1) - memory->place_of(first, 1), 8192u);
  std::memset(first, 7, 5000);
  EXPECT_EQ(buffers.take(0), nullptr);
  EXPECT_EQ(buffers.take(kAll), nullptr);
  EXPECT_EQ(buffers.take(UINT64_MAX), nullptr);
  EXPECT_TRUE(buffers.give_back(first));
  EXPECT_FALSE(buffers.give_back(first));
  EXPECT_FALSE(buffers.give_back(static_cast<char*>(second) + 1));
  EXPECT_FALSE(buffers.give_back(nullptr));
  EXPECT_EQ(buffers.take(8192), first);
  EXPECT_EQ(*static_cast<char*>(first), 0);
  EXPECT_TRUE(buffers.give_back(second));
  EXPECT_TRUE(buffers.give_back(first));
  EXPECT_EQ(buffers.take(kAll), first) << "the pieces are one again";
}

/// Host and worker in this process, so that the worker can say what no worker of ours says.
class IsolationEnds : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    host_ = std::make_shared<Peer>(
        Fd(ends[0]), true, [this](const Frame& request, isolation::Lane& lane) {
          Frame answer;
          isolation::Incoming call(*host_, request, lane, nullptr, answer);
          EXPECT_TRUE(isolation::serve_table(call));
          return answer;
        });
    worker_ = std::make_shared<Peer>(Fd(ends[1]), false,
                                     [](const Frame&, isolation::Lane&) { return Frame(); });
    host_->start(SharedMemory::create());
    worker_->start();
    { const Peer::Outgoing lane(*worker_); }  // the memory came before it
    ASSERT_TRUE(worker_->memory());

    source_.size = sizeof source_;
    source_.flags = HYPER_SOURCE_SEEK;
    source_.length = kLength;
    source_.block_min = source_.max_parallel = 1;
    source_.ctx = &calls_;
    source_.read_at = [](void* calls, hyper_op*, uint32_t, uint64_t, void* buf,
                         uint64_t len) noexcept {
      ++*static_cast<std::atomic<int>*>(calls);
      std::memset(buf, 7, len);
      return HYPER_OK;
    };
    sink_.size = sizeof sink_;
    sink_.flags = HYPER_SINK_APPEND;
    sink_.block_min = sink_.max_parallel = 1;
    sink_.ctx = this;
    sink_.write_at = [](void* self, hyper_op*, uint32_t, uint64_t, const void* buf,
                        uint64_t len) noexcept {
      auto& ends_of = *static_cast<IsolationEnds*>(self);
      ++ends_of.calls_;
      const std::lock_guard lock(ends_of.mutex_);
      ends_of.written_.assign(static_cast<const char*>(buf), len);
      return HYPER_OK;
    };
  }
  void TearDown() override {
    worker_.reset();
    host_.reset();
  }

  Frame ask(Frame request) {
    Peer::Outgoing out(*worker_);
    out.lane().room(1);
    return worker_->call(out.lane(), request, nullptr);
  }
  Frame frame(Verb verb, uint64_t object, uint64_t offset, uint64_t length, uint64_t memory,
              uint64_t place) {
    Frame request;
    request.verb = verb;
    request.object = object;
    request.a = offset;
    request.b = length;
    request.memory = memory;
    request.place = place;
    return request;
  }

  static constexpr uint64_t kLength = 4 * kAll;
  // Two mappings of a lane in one process: no sanitizer sees that an answer comes after its call.
  std::atomic<int> calls_{0};
  std::mutex mutex_;
  std::string written_;
  hyper_source source_{};
  hyper_sink sink_{};
  std::shared_ptr<Peer> host_, worker_;
};

TEST_F(IsolationEnds, BytesAreReadAndWrittenWhereTheyLie) {
  const isolation::Lent<isolation::OfferedSource, hyper_source> source(host_, source_);
  const isolation::Lent<isolation::OfferedSink, hyper_sink> sink(host_, sink_);
  const uint64_t memory = worker_->memory()->number();
  Frame answer = ask(frame(Verb::kReadAt, source.id(), 0, 10, memory, kAll - 10));
  EXPECT_EQ(answer.status, HYPER_OK);
  EXPECT_EQ(answer.payload, 0u) << "nothing is carried";
  EXPECT_EQ(std::string(10, '\7'),
            std::string(reinterpret_cast<char*>(worker_->memory()->at(kAll - 10, 10)), 10));
  answer = ask(frame(Verb::kWriteAt, sink.id(), 0, 10, memory, kAll - 10));
  EXPECT_EQ(answer.status, HYPER_OK);
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(written_, std::string(10, '\7'));
}

TEST_F(IsolationEnds, PlacesOutsideOfTheMemoryAreRefused) {
  const isolation::Lent<isolation::OfferedSource, hyper_source> source(host_, source_);
  const isolation::Lent<isolation::OfferedSink, hyper_sink> sink(host_, sink_);
  const uint64_t memory = worker_->memory()->number();
  const auto others = SharedMemory::create();  // of another worker
  struct Case {
    uint64_t length, memory, place;
  };
  for (const Case& bad : {Case{1, memory, kAll},
                          {1, memory, UINT64_MAX},
                          {2, memory, kAll - 1},
                          {kAll + 1, memory, 0},
                          {UINT64_MAX, memory, 1},
                          {UINT64_MAX - kAll + 2, memory, kAll - 1},
                          {1, memory + 1000, 0},
                          {1, others->number(), 0},
                          {1, UINT64_MAX, 0}}) {
    EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 0, bad.length, bad.memory, bad.place)).status,
              HYPER_FAIL)
        << bad.length << " at " << bad.place;
    EXPECT_EQ(ask(frame(Verb::kWriteAt, sink.id(), 0, bad.length, bad.memory, bad.place)).status,
              HYPER_FAIL)
        << bad.length << " at " << bad.place;
  }
  EXPECT_EQ(calls_, 0);
  // More than a lane holds.
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 0, 2 * kAll, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(calls_, 0);
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 0, 1, memory, 0)).status, HYPER_OK);
}

TEST_F(IsolationEnds, WhatASourceOrASinkDoesNotDoIsRefused) {
  const isolation::Lent<isolation::OfferedSource, hyper_source> source(host_, source_);
  const isolation::Lent<isolation::OfferedSink, hyper_sink> sink(host_, sink_);
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), kLength, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 1, kLength, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), UINT64_MAX, 2, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 2, UINT64_MAX, 0, 0)).status, HYPER_FAIL);
  // Their slots are empty.
  for (const Verb verb : {Verb::kNext, Verb::kExtents, Verb::kLocate, Verb::kSibling})
    EXPECT_EQ(ask(frame(verb, source.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  for (const Verb verb : {Verb::kZeroAt, Verb::kReopen, Verb::kKeep})
    EXPECT_EQ(ask(frame(verb, sink.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kReadAt, sink.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kWriteAt, source.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kReadAt, 12345, 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(calls_, 0);
}

TEST_F(IsolationEnds, WhatADiskDoesNotDoIsRefused) {
  hyper_block block{};
  block.size = sizeof block;
  block.id = "disk-0";
  block.length = kLength;
  block.block_min = block.max_parallel = 1;
  block.ctx = &calls_;
  block.read_at = source_.read_at;
  const isolation::Lent<isolation::OfferedBlock, hyper_block> disk(host_, block);
  const isolation::Lent<isolation::OfferedSource, hyper_source> source(host_, source_);
  EXPECT_EQ(ask(frame(Verb::kBlockRead, disk.id(), kLength - 1, 1, 0, 0)).status, HYPER_OK);
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(ask(frame(Verb::kBlockRead, disk.id(), kLength, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kBlockRead, disk.id(), 2, UINT64_MAX, 0, 0)).status, HYPER_FAIL);
  // Its flags promise neither, and its slots are empty.
  for (const Verb verb : {Verb::kBlockWrite, Verb::kBlockZero, Verb::kBlockFlush,
                          Verb::kBlockExtents, Verb::kBlockAttach, Verb::kBlockDetach})
    EXPECT_EQ(ask(frame(verb, disk.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  // Nor is a disk a source, or a source a disk.
  EXPECT_EQ(ask(frame(Verb::kReadAt, disk.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(ask(frame(Verb::kBlockRead, source.id(), 0, 1, 0, 0)).status, HYPER_FAIL);
  EXPECT_EQ(calls_, 1);
}

TEST_F(IsolationEnds, NoMoreCallsAreInATableThanItAllows) {
  static std::atomic<int> inside{0}, most{0};
  source_.read_at = [](void* calls, hyper_op*, uint32_t, uint64_t, void*, uint64_t) noexcept {
    most = std::max(most.load(), ++inside);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++*static_cast<std::atomic<int>*>(calls);
    --inside;
    return HYPER_OK;
  };
  const isolation::Lent<isolation::OfferedSource, hyper_source> source(host_, source_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back(
        [&] { EXPECT_EQ(ask(frame(Verb::kReadAt, source.id(), 0, 1, 0, 0)).status, HYPER_OK); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(calls_, 8);
}

}  // namespace
}  // namespace hyperhost
