// SPDX-License-Identifier: Apache-2.0
// What a worker's death, at the worst instants, leaves of the host's calls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/plugin/isolation/isolated_plugin.hpp"
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::unique_ptr<Plugin> zoo(const char* way) {
  ::setenv("HYPER_ZOO", way, 1);
  return isolation::load_isolated(TEST_PLUGIN_DIR "/zoo.so", "zoo");
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
  void *connection = nullptr, *vm = nullptr;
  op.check(provider.connect(&options, &op, &connection), "connect");
  op.check(provider.open_vm(connection, &op, R"({"vm": "demo"})", &vm), "open_vm");
  hyper_source source{};
  source.size = sizeof source;
  op.check(provider.open_disk(vm, &op, "disk-0", 0, &source), "open_disk");
  char buffer[512];
  // The first dies in mid-call, the others find it dead.
  for (int i = 0; i < 3; ++i)
    expect_gone(op, source.read_at(source.ctx, &op, 0, buffer, sizeof buffer), "crashed");
  hyper_source other{};
  other.size = sizeof other;
  expect_gone(op, provider.open_disk(vm, &op, "disk-0", 0, &other), "crashed");
  source.close(source.ctx);
  EXPECT_EQ(provider.close_vm(vm, &op, HYPER_FAIL), HYPER_OK);
  // What begins anew gets a fresh worker.
  op.check(provider.open_vm(connection, &op, R"({"vm": "demo"})", &vm), "open_vm");
  EXPECT_EQ(provider.close_vm(vm, &op, HYPER_OK), HYPER_OK);
  provider.disconnect(connection);
}

TEST(Isolation, ACallOfADeadWorkerEndsWhenNothingIsDoneForItAnyMore) {
  const auto plugin = zoo("");
  const hyper_converter& converter = *plugin->converter();
  Operation op("disk", CancelSource::create());
  const Options options(nlohmann::json::object());
  void* self = nullptr;
  op.check(converter.open(&options, &op, &self), "open");
  hyper_source source{};
  source.size = sizeof source;
  source.flags = HYPER_SOURCE_SEEK;
  source.length = 1 << 20;
  source.block_min = 1;
  source.max_parallel = 1;
  source.read_at = [](void*, hyper_op*, uint64_t, void* buf, uint64_t len) noexcept {
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
  sink.write_at = [](void* ctx, hyper_op*, uint64_t, const void*, uint64_t) noexcept {
    auto& flag = *static_cast<std::atomic<bool>*>(ctx);
    flag = true;
    kill_children();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // the host hears of it meanwhile
    flag = false;
    return HYPER_OK;
  };
  const hyper_st status = converter.convert(
      self, &op, "{}", &source, &sink,
      [](void*, const char*, uint64_t) noexcept { return HYPER_OK; }, nullptr);
  EXPECT_FALSE(writing) << "the sink's owner would end it under the writer";
  expect_gone(op, status, "SIGKILL");
  converter.close(self);
}

}  // namespace
}  // namespace hyperhost
