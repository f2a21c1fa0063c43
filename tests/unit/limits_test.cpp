// SPDX-License-Identifier: Apache-2.0
// A batch's budgets: how fast sources deliver, and how converters share memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <hyper/source.hpp>
#include <set>
#include <thread>

#include "core/migrate/memory_limit.hpp"
#include "core/plugin/filter/throttled_source.hpp"
#include "core/run/bind_plan.hpp"
#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kMib = 1u << 20;

/// 2 MiB of nothing, as a stream in spans of 256 KiB, lent, and read at.
class Zeros final : public hyper::Source {
 public:
  static constexpr uint64_t kLength = 2 * kMib, kSpan = 256u << 10;
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits out;
    out.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_STREAM | HYPER_SOURCE_BORROW | HYPER_SOURCE_FILE |
                HYPER_SOURCE_SIBLING;
    out.length = kLength;
    out.max_parallel = 8;
    return out;
  }
  void read_at(hyper::Op, uint64_t, void* buffer, uint64_t length) override {
    std::memset(buffer, 0, length);
  }
  std::pair<const void*, uint64_t> next(hyper::Op) override {
    const uint64_t length = std::min(kSpan, kLength - at_);
    at_ += length;
    return {bytes_.data(), length};
  }
  const void* borrow(hyper::Op, uint64_t offset, uint64_t, void**) override {
    return bytes_.data() + offset;
  }
  hyper::FileRange locate(hyper::Op) override { return {"/nowhere", 0, kLength}; }
  std::unique_ptr<hyper::Source> sibling(hyper::Op, const std::string&) override {
    return std::make_unique<Zeros>();
  }

 private:
  const std::vector<char> bytes_ = std::vector<char>(kLength);
  uint64_t at_ = 0;
};

std::unique_ptr<SourceHandle> limited(uint64_t bytes_per_second, bool in_place = false) {
  host_table();
  auto source = std::make_unique<SourceHandle>();
  hyper::export_source(std::make_unique<Zeros>(), source->out());
  const auto bandwidth = std::make_shared<Bandwidth>();
  bandwidth->sources().set(bytes_per_second);
  auto out = throttled(std::move(source), bandwidth, in_place);
  out->validate("the test");
  return out;
}

/// At least what `bytes` take at `rate`, less what may go into debt at the end; no upper bound,
/// since a machine may be as slow as it likes.
void expect_took(Clock::time_point begin, uint64_t bytes, uint64_t rate) {
  const std::chrono::duration<double> passed = Clock::now() - begin;
  EXPECT_GE(passed.count(), static_cast<double>(bytes) / static_cast<double>(rate));
}

constexpr uint64_t kRate = 8 * kMib;

TEST(ThrottledSource, EveryWayToReadItIsLimited) {
  const std::unique_ptr<SourceHandle> source = limited(kRate);
  const hyper_source& table = source->table();
  Operation op("vm", CancelSource::create());
  std::vector<char> buffer(kMib);
  auto begin = Clock::now();
  for (int i = 0; i < 4; ++i) source->read_at(op, 0, buffer.data(), buffer.size());
  expect_took(begin, 4 * kMib - kMib / 8, kRate);

  begin = Clock::now();
  for (int i = 0; i < 4; ++i) {
    hyper_span span{};
    ASSERT_EQ(table.borrow(table.ctx, &op, 0, kMib, kMib, &span), HYPER_OK);
    EXPECT_EQ(span.len, kMib);
    table.release(table.ctx, &span);
  }
  expect_took(begin, 3 * kMib, kRate);  // the bucket may have been full

  begin = Clock::now();
  uint64_t got = 0;
  for (;;) {
    hyper_span span{};
    ASSERT_EQ(table.next(table.ctx, &op, 0, &span), HYPER_OK);
    got += span.len;
    if (span.len == 0) break;
    table.release(table.ctx, &span);
  }
  EXPECT_EQ(got, Zeros::kLength);
  expect_took(begin, kMib, kRate);

  hyper_source sibling{};
  sibling.size = sizeof sibling;
  ASSERT_EQ(table.sibling(table.ctx, &op, 0, "extent", &sibling), HYPER_OK);
  EXPECT_EQ(sibling.flags & HYPER_SOURCE_FILE, 0u);
  begin = Clock::now();
  for (int i = 0; i < 2; ++i)
    ASSERT_EQ(sibling.read_at(sibling.ctx, &op, 0, 0, buffer.data(), buffer.size()), HYPER_OK);
  expect_took(begin, kMib, kRate);
  sibling.close(sibling.ctx, &op);
}

TEST(ThrottledSource, ItsFileIsShownToWhoeverReadsNothingElse) {
  EXPECT_FALSE(limited(kRate)->can(HYPER_SOURCE_FILE));
  const auto source = limited(kRate, true);
  ASSERT_TRUE(source->can(HYPER_SOURCE_FILE));
  EXPECT_EQ(hyper::SourceRef(&source->table()).locate(hyper::Op(nullptr)).path, "/nowhere");
  EXPECT_TRUE(limited(0)->can(HYPER_SOURCE_FILE)) << "without a limit nothing changes";
}

TEST(ThrottledSource, ACancelEndsTheWaitOfEachReader) {
  const std::unique_ptr<SourceHandle> source = limited(1);  // 24 days for the whole
  const hyper_source& table = source->table();
  const auto cancel = CancelSource::create();
  Operation op("vm", cancel);
  std::vector<char> buffer(kMib);
  std::vector<std::jthread> readers;
  std::atomic<int> cancelled{0};
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&, i] {
      std::vector<char> own(kMib);
      hyper_span span{};
      hyper_st status = HYPER_OK;
      while (status == HYPER_OK)
        status = i == 0   ? table.read_at(table.ctx, &op, 0, 0, own.data(), own.size())
                 : i == 1 ? table.borrow(table.ctx, &op, 0, 0, kMib, &span)
                          : table.next(table.ctx, &op, 0, &span);
      if (status == HYPER_CANCELLED) ++cancelled;
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // most likely all of them wait
  cancel->cancel();
  readers.clear();
  EXPECT_EQ(cancelled, 3);
}

TEST(ThrottledSource, ShortReadsGetTheirTurnBetweenLongOnes) {
  const auto bandwidth = std::make_shared<Bandwidth>();
  bandwidth->sources().set(4 * kMib);
  const auto open = [&] {
    host_table();
    auto source = std::make_unique<SourceHandle>();
    hyper::export_source(std::make_unique<Zeros>(), source->out());
    return throttled(std::move(source), bandwidth, false);
  };
  const auto first = open(), second = open();
  const auto cancel = CancelSource::create();
  std::atomic<bool> done{false};
  std::jthread greedy([&] {
    Operation op("greedy", cancel);
    std::vector<char> buffer(Zeros::kLength);
    while (!done) {
      try {
        first->read_at(op, 0, buffer.data(), buffer.size());
      } catch (const Error&) {
        return;
      }
    }
  });
  Operation op("modest", CancelSource::create());
  std::vector<char> buffer(64u << 10);
  for (int i = 0; i < 8; ++i) second->read_at(op, 0, buffer.data(), buffer.size());
  done = true;  // it came to its end, whatever the other one took meanwhile
  cancel->cancel();
}

/// Four disks of one VM that read as fast as a limit lets them, by a clock that the test moves.
/// Each wait takes 2 ms longer than asked for, as on a busy machine.
class LimitedRun {
 public:
  explicit LimitedRun(uint64_t bytes_per_second) : size_(bytes_per_second * 100) {
    limit_.set(bytes_per_second);
    info_->task_id = info_->vm_name = "web";
    info_->run_id = "run";
    tell(event::RunStarted{"run", "night", "ops", {info_}}, nullptr);
    tell(event::TaskMeasured{size_, size_, disks_});
    tell(event::TaskStarted{1, size_, {Stage::kExport, Stage::kConvert}});
    for (const Stage stage : {Stage::kExport, Stage::kConvert}) {
      tell(event::StageStarted{stage, size_, ""});
      for (const auto& disk : disks_) tell(event::DiskStarted{stage, disk, size_ / disks_.size()});
    }
  }
  void go_on_for(std::chrono::seconds time) {
    constexpr uint64_t kPiece = 64u << 10;
    const Clock::time_point end = now_ + time;
    while (now_ < end) {
      Clock::time_point next = end;
      for (Reader& reader : readers_) {
        if (reader.ready <= now_) {
          const auto wait = limit_.try_take(kPiece, now_);
          if (wait.count() == 0)
            reader.done += kPiece;
          else
            reader.ready = now_ + wait + std::chrono::milliseconds(2);
        }
        next = std::min(next, reader.ready);
      }
      now_ = std::max(now_, next);
      if (now_ >= report_) report();
    }
  }
  ProgressFrame shown() const { return tracker_.frame(); }

 private:
  struct Reader {
    Clock::time_point ready{};
    uint64_t done = 0;
  };
  void tell(EventBody body) { tell(std::move(body), info_); }
  void tell(EventBody body, std::shared_ptr<const TaskInfo> about) {
    tracker_.on_event({WallClock::time_point(now_.time_since_epoch()), about, std::move(body)});
  }
  void report() {
    for (const Stage stage : {Stage::kExport, Stage::kConvert})
      for (std::size_t i = 0; i < disks_.size(); ++i)
        tell(event::DiskProgress{stage, disks_[i], readers_[i].done, size_ / disks_.size()});
    report_ = now_ + std::chrono::milliseconds(100);
  }

  Clock::time_point now_{std::chrono::hours(1)}, report_{};
  ProgressTracker tracker_{{256, [this] { return now_; }}};
  const uint64_t size_;
  const std::vector<std::string> disks_{"disk-0", "disk-1", "disk-2", "disk-3"};
  std::array<Reader, 4> readers_{};
  std::shared_ptr<TaskInfo> info_ = std::make_shared<TaskInfo>();
  RateLimit limit_;
};

TEST(RateLimit, AnyLimitIsTheRateThatIsShown) {
  for (const uint64_t limit : {kMib, 10 * kMib, 25 * kMib, 100 * kMib, 1024 * kMib}) {
    LimitedRun run(limit);
    run.go_on_for(std::chrono::seconds(20));
    const ProgressFrame shown = run.shown();
    const TaskProgress& vm = shown.tasks.at(0);
    const double wanted = static_cast<double>(limit), close = 0.05 * wanted;
    EXPECT_NEAR(shown.run.rate, wanted, close);
    EXPECT_NEAR(vm.rate, wanted, close);
    double disks = 0;
    for (const StepProgress& disk : vm.disks)
      if (disk.stage == Stage::kConvert) disks += disk.rate;
    EXPECT_NEAR(disks, wanted, close);
    for (const StepProgress& stage : vm.stages) {
      EXPECT_NEAR(stage.rate, wanted, close) << stage_name(stage.stage);
      EXPECT_NEAR(stage.average_rate, wanted, close) << stage_name(stage.stage);
    }
    ASSERT_TRUE(shown.run.left);
    EXPECT_NEAR(shown.run.left->likely, 80, 4);
  }
}

TEST(RateLimit, SlowsWhileAndShortlyAfterACallerWaits) {
  RateLimit limit;
  auto now = RateLimit::Clock::time_point(std::chrono::hours(1));
  limit.set(kMib);
  EXPECT_EQ(limit.try_take(kMib, now).count(), 0);
  EXPECT_FALSE(limit.slows(now));  // no caller waited yet
  // However long a busy machine takes to ask again, and however little is read then.
  for (int i = 0; i < 10; ++i) {
    now += std::chrono::milliseconds(90);
    EXPECT_GT(limit.try_take(kMib, now).count(), 0);
    EXPECT_TRUE(limit.slows(now + std::chrono::milliseconds(900)));
  }
  EXPECT_FALSE(limit.slows(now + std::chrono::seconds(2)));
  limit.set(0);
  EXPECT_FALSE(limit.slows(now));
}

// --- memory

class MemoryLimit : public testing::Test {
 protected:
  /// `limit` and the converter of each migration, as YAML.
  void bind(const std::string& limit, const std::vector<std::string>& converters) {
    std::string text =
        "version: 1\nproviders: {p: {plugin: local-ovf, path: /tmp}}\n"
        "output_dir: out\nbatch: {memory_limit: " +
        limit + "}\nmigrations:\n";
    for (std::size_t i = 0; i < converters.size(); ++i)
      text +=
          "  - {vm: vm" + std::to_string(i) + ", provider: p, converter: " + converters[i] + "}\n";
    const PlanResult result = parse_plan(text, "p.yaml");
    ASSERT_TRUE(result.plan) << to_string(result.diagnostics.at(0));
    plan_ = result.plan;
    bound_ = bind_plan(*plan_, registry_);
  }
  std::vector<uint64_t> memory() const {
    std::vector<uint64_t> out;
    for (const MigrationConfig& config : bound_.migrations)
      out.push_back(config.converter.options.value().value("memory", uint64_t{0}));
    return out;
  }
  std::string said() const {
    std::string out;
    for (const Diagnostic& one : bound_.diagnostics) out += to_string(one) + "\n";
    return out;
  }

  PluginRegistry registry_{{{PLUGIN_DIR, "built-in", true}}};
  std::shared_ptr<const Plan> plan_;
  BoundPlan bound_;
};

const char* const kOpen = "parallel-disk";
const char* const kStrict = "{plugin: parallel-disk, options: {strict_deflate: true}}";
const char* const kOwn = "{plugin: parallel-disk, options: {memory: 33554432}}";

TEST_F(MemoryLimit, InstancesShareItNotVms) {
  bind("96MiB", {kOpen, kOpen, kStrict, kOpen});
  ASSERT_TRUE(bound_.ok) << said();
  EXPECT_EQ(said(), "");
  EXPECT_THAT(memory(), testing::Each(48 * kMib));
  std::set<std::string> instances;
  for (const MigrationConfig& config : bound_.migrations) instances.insert(config.converter.key());
  EXPECT_EQ(instances.size(), 2u);
}

TEST_F(MemoryLimit, WhatAPlanSaysItselfComesOffFirst) {
  bind("96MiB", {kOwn, kStrict, kOwn, kOpen});
  ASSERT_TRUE(bound_.ok) << said();
  EXPECT_THAT(memory(), testing::ElementsAre(32 * kMib, 32 * kMib, 32 * kMib, 32 * kMib));
}

TEST_F(MemoryLimit, ConvertersThatCannotBeToldTakeNoShare) {
  bind("96MiB", {kOpen, "qemu-img"});
  ASSERT_TRUE(bound_.ok) << said();
  EXPECT_THAT(memory(), testing::ElementsAre(96 * kMib, 0));
  bind("96MiB", {"qemu-img"});
  EXPECT_TRUE(bound_.ok);
  EXPECT_THAT(said(), HasSubstr("memory_limit bounds nothing"));
}

TEST_F(MemoryLimit, NoLimitChangesNothing) {
  bind("0", {kOpen, kOwn});
  EXPECT_TRUE(bound_.ok) << said();
  EXPECT_THAT(memory(), testing::ElementsAre(0, 32 * kMib));
}

TEST_F(MemoryLimit, TooSmallIsOneErrorAtItsPlace) {
  bind("17MiB", {kOpen, kStrict, kOpen});
  EXPECT_FALSE(bound_.ok);
  ASSERT_EQ(bound_.diagnostics.size(), 1u) << said();
  EXPECT_EQ(bound_.diagnostics[0].where, "p.yaml:4:23");
  EXPECT_EQ(bound_.diagnostics[0].path, "/batch/memory_limit");
  EXPECT_THAT(said(), HasSubstr("leaves 8912896 bytes for each of 2 configurations"));
  EXPECT_THAT(said(), HasSubstr("set it to at least 18 MiB"));
  bind("8MiB", {kOpen});
  EXPECT_FALSE(bound_.ok);
  EXPECT_THAT(said(), HasSubstr("leaves 8 MiB, and 'parallel-disk' needs at least 9 MiB"));
  bind("40MiB", {kOwn, kOpen});
  EXPECT_FALSE(bound_.ok);
  EXPECT_THAT(said(), HasSubstr("set it to at least 41 MiB"));
  bind("31MiB", {kOwn});
  EXPECT_FALSE(bound_.ok);
  EXPECT_THAT(said(), HasSubstr("more memory than the 31 MiB of memory_limit"));
  bind("9MiB", {kOpen});
  EXPECT_TRUE(bound_.ok) << said();
}

}  // namespace
}  // namespace hyperhost
