// SPDX-License-Identifier: Apache-2.0
// One truth: terminal, API, status and metrics show the same figures at the same moment. A real
// batch of VMs of mixed sizes, with failures, skips, dependencies, a window and limits, is held at
// ten moments; what each display shows then is compared.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <condition_variable>
#include <regex>
#include <thread>

#include "core/os/process_identity.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/route.hpp"
#include "core/watch/http/progress_api_server.hpp"
#include "core/watch/recorder/run_recorder.hpp"
#include "hosts/hyperhost/run_status.hpp"
#include "hosts/hyperhost/run_view.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

std::string http_get(uint16_t port, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  std::string text;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request =
        "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    char buffer[65536];
    for (ssize_t got = 0; (got = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      text.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(fd);
  return text.substr(std::min(text.size(), text.find("\r\n\r\n") + 4));
}

/// Holds every conversion in its middle until the test lets a number of them go.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_ || let_ > 0; });
    if (let_ > 0) --let_;
    --held_;
  }
  /// False: so many are never held together any more.
  bool wait_for(int held, const std::atomic<bool>& over) {
    std::unique_lock lock(mutex_);
    while (held_ < held || let_ > 0) {
      if (over) return false;
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    return true;
  }
  void let(int number) {
    const std::lock_guard lock(mutex_);
    let_ = number;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0, let_ = 0;
  bool open_ = false;
};

class Displays : public MemoryHost {
 protected:
  static constexpr int kVms = 60, kAtOnce = 3, kMoments = 10;

  Displays() : store_(StateStore::open(directory_ / "state")) {
    for (int i = 0; i < kVms; ++i) {
      const std::string name = vm(i);
      std::vector<std::string> disks;
      for (int disk = 0; disk <= i % 3; ++disk)
        disks.push_back(std::string(static_cast<std::size_t>(1 + (i * 7 + disk) % 5) << 16, 'a'));
      add_vm(name, disks);
      configs_.push_back(config(name));
      configs_.back().plan_id = name;
    }
    for (const int i : {4, 17, 33}) fails_.insert(vm(i));
    configs_[20].depends_on = configs_[21].depends_on = {vm(4)};  // skipped
    configs_[50].depends_on = {vm(49)};
    std::string why;
    configs_[55].window = StartWindow::parse("2026-01-02T05:00:00Z", "", why).value();
    configs_[56].window = StartWindow::parse("", "2026-01-02T02:00:00Z", why).value();  // over
    world_.on_call = [this](const std::string& call) {
      if (call.rfind("half ", 0) == 0) gate_.pass();
      if (call.rfind("open ", 0) == 0 && fails_.contains(call.substr(5)))
        throw hyper::Error(HYPER_CORRUPT, "made to fail");
    };
  }
  static std::string vm(int i) { return "vm-" + std::to_string(100 + i); }

  void begin() {
    OrchestratorConfig config;
    config.providers = providers();
    config.plan_name = "night";
    orchestrator_ = std::make_unique<MigrationOrchestrator>(config, registry_, services());
    ProgressTracker& tracker = *orchestrator_->get_progress_tracker();
    api_ = std::make_unique<ProgressApiServer>(tracker, "127.0.0.1:0");
    api_->start();
    view_ = std::make_unique<RunView>(tracker, RunView::Options{"night", false, false});
    recorder_ = std::make_unique<RunRecorder>(
        store_, "/night.yaml", [](const std::string&) {}, &tracker);
    orchestrator_->events().subscribe(recorder_.get());
    BatchOptions batch;
    batch.max_parallel = kAtOnce;
    batch.checked = 20;
    for (int i = 0; i < 20; ++i)
      batch.sizes.push_back(
          size_of(orchestrator_->preflight(configs_[static_cast<std::size_t>(i)])));
    worker_ = std::thread([this, batch] {
      results_ = orchestrator_->migrate_batch(configs_, batch, cancel_);
      over_ = true;
    });
  }
  void end() {
    gate_.open();
    clock_->advance(std::chrono::hours(3));  // the window opens
    worker_.join();
    orchestrator_->events().unsubscribe(recorder_.get());
    recorder_.reset();
  }

  struct Shown {
    std::map<std::string, std::string> vms;  ///< "convert 50%", "waiting: for …"
    std::string counts, share, left;
    bool operator==(const Shown&) const = default;
  };
  static std::string counts(const json& run) {
    std::string out;
    for (const char* state :
         {"total", "waiting", "running", "completed", "failed", "cancelled", "skipped"})
      out += std::string(state) + " " + std::to_string(run["counts"][state].get<int>()) + " ";
    return out;
  }
  static std::string share_of(const json& run) {
    return run["percentage"].is_null()
               ? "at least"
               : std::to_string(static_cast<int>(run["percentage"].get<double>())) + "%";
  }
  static std::string left_of(const json& run) {
    if (run["eta"].is_null()) return "";
    return time_left(
        {run["eta_low"].get<double>(), run["eta"].get<double>(), run["eta_high"].get<double>()});
  }
  static std::string vm_of(const json& task) {
    if (task.contains("waiting")) return "waiting: " + task["waiting"]["text"].get<std::string>();
    return task["current_stage"].get<std::string>() + " " +
           std::to_string(static_cast<int>(task["percentage"].get<double>())) + "%";
  }

  Shown of_api() const {
    const json answer = json::parse(http_get(api_->port(), "/api/v1/progress"));
    Shown out{{}, counts(answer["run"]), share_of(answer["run"]), left_of(answer["run"])};
    for (const json& task : answer["tasks"])
      if (!ended(task["status"])) out.vms[task["vm_name"]] = vm_of(task);
    return out;
  }
  /// As `hyperhost status` reads it.
  Shown of_status() const {
    const RunRecord run = store_->runs(1).at(0);
    if (!run.progress.is_object()) return {};
    Shown out{{}, counts(run.progress), share_of(run.progress), left_of(run.progress)};
    const RunLife life = life_of(run);
    EXPECT_EQ(life.state, "running");
    for (const TaskRecord& task : store_->tasks(run.run_id)) {
      const std::string status = task_status(task, life);
      if (status != "pending" && status != "running") continue;
      const std::string why = remark(task, status);
      out.vms[task.vm_name] =
          why.rfind("waits: ", 0) == 0
              ? "waiting: " + why.substr(7)
              : stage_of(task) + " " + std::to_string(static_cast<int>(percent(task))) + "%";
    }
    return out;
  }
  Shown of_terminal() const {
    const auto lines = view_->lines({160, 200});
    Shown out;
    const std::regex row("(vm-[0-9]+) +([a-z]+) [#.]+ +([0-9]+%).*"),
        waits("(vm-[0-9]+) +(waiting: .*)");
    std::smatch match;
    for (const std::string& line : lines)
      if (std::regex_match(line, match, row)) {
        if (!ended(match[2])) out.vms[match[1]] = match[2].str() + " " + match[3].str();
      } else if (std::regex_match(line, match, waits)) {
        out.vms[match[1]] = match[2];
      }
    if (std::regex_search(lines[0], match, std::regex("  ([0-9]+%) of ")))
      out.share = match[1];
    else if (lines[0].find("of at least ") != std::string::npos)
      out.share = "at least";
    if (std::regex_search(lines[0], match, std::regex("  ([^ ]+( to [^ ]+)? left)")))
      out.left = match[1];
    const auto number = [&](const std::string& pattern) {
      return std::regex_search(lines[0], match, std::regex(pattern)) ? match[1].str() : "0";
    };
    ended_words_ = number(": ([0-9]+) of") + " done " + number(", ([0-9]+) failed") + " failed " +
                   number(", ([0-9]+) skipped") + " skipped";
    return out;
  }
  std::map<std::string, double> of_metrics() const {
    std::map<std::string, double> out;
    std::istringstream text(orchestrator_->get_metrics_collector()->metrics_text());
    for (std::string line; std::getline(text, line);)
      if (line.rfind("hypersdk_", 0) == 0)
        out[line.substr(0, line.find(' '))] = std::strtod(line.c_str() + line.find(' '), nullptr);
    return out;
  }
  static bool ended(const std::string& status) {
    return status == "completed" || status == "failed" || status == "cancelled" ||
           status == "skipped" || status == "done" || status == "stopped";
  }

  void compare_all(int moment) {
    SCOPED_TRACE("moment " + std::to_string(moment));
    const auto of_run = [this] { return json::parse(http_get(api_->port(), "/api/v1/run")); };
    // The speed goes by a clock that this test does not hold.
    const auto still = [](const json& of) {
      return json{of["counts"], of["guest_bytes"], of["unmeasured"], of["percentage"], of["eta"]};
    };
    Shown api, status, terminal;
    std::map<std::string, double> metrics;
    json before, run;
    // The state database is written twice a second, and a reason to wait is found five times. VMs
    // that wait are measured meanwhile: what was read while one was is read again.
    for (int i = 0; i < 1000; ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      before = of_run();
      api = of_api();
      status = of_status();
      terminal = of_terminal();
      metrics = of_metrics();
      run = of_run();
      if (still(before) == still(run) && api == status && terminal.vms == api.vms &&
          terminal.left == api.left)
        break;
    }
    EXPECT_EQ(still(before), still(run));
    EXPECT_EQ(status.vms, api.vms);
    EXPECT_EQ(status.counts, api.counts);
    EXPECT_EQ(status.share, api.share);
    EXPECT_EQ(status.left, api.left);
    EXPECT_EQ(terminal.vms, api.vms);
    EXPECT_EQ(terminal.share, api.share);
    EXPECT_EQ(terminal.left, api.left);

    const json& of = run["counts"];
    EXPECT_EQ(ended_words_, of["completed"].dump() + " done " + of["failed"].dump() + " failed " +
                                of["skipped"].dump() + " skipped");
    for (const char* state : {"waiting", "running", "completed", "failed", "cancelled", "skipped"})
      EXPECT_EQ(metrics["hypersdk_run_vms{state=\"" + std::string(state) + "\"}"], of[state])
          << state;
    EXPECT_EQ(metrics["hypersdk_migrations_active"], of["running"]);
    EXPECT_EQ(metrics["hypersdk_migrations_succeeded"], of["completed"]);
    EXPECT_EQ(metrics["hypersdk_migrations_failed"], of["failed"]);
    EXPECT_EQ(metrics["hypersdk_migrations_skipped"], of["skipped"]);
    EXPECT_EQ(metrics["hypersdk_run_guest_bytes"], run["guest_bytes"]);
    EXPECT_EQ(metrics["hypersdk_run_unmeasured_vms"], run["unmeasured"]);
    const double share = metrics["hypersdk_run_progress_percent"];
    if (run["percentage"].is_null())
      EXPECT_TRUE(std::isnan(share));
    else
      EXPECT_NEAR(share, run["percentage"].get<double>(), 0.01);
    const double left = metrics["hypersdk_run_left_seconds"];
    if (run["eta"].is_null())
      EXPECT_TRUE(std::isnan(left));
    else
      EXPECT_EQ(std::llround(left), run["eta"].get<int64_t>());
    EXPECT_EQ(of["running"], kAtOnce);
  }

  Gate gate_;
  std::set<std::string> fails_;
  std::vector<MigrationConfig> configs_;
  std::shared_ptr<StateStore> store_;
  std::unique_ptr<MigrationOrchestrator> orchestrator_;
  std::unique_ptr<ProgressApiServer> api_;
  std::unique_ptr<RunView> view_;
  std::unique_ptr<RunRecorder> recorder_;
  std::vector<MigrationResult> results_;
  std::atomic<bool> over_{false};
  std::thread worker_;
  mutable std::string ended_words_;
};

TEST_F(Displays, AllShowTheSameAtTenMoments) {
  begin();
  int moments = 0;
  for (int step = 0; moments < kMoments && gate_.wait_for(kAtOnce, over_); ++step) {
    if (step % 3 == 0) compare_all(++moments);
    clock_->advance(std::chrono::seconds(5));  // what follows happens later
    gate_.let(kAtOnce);
  }
  EXPECT_EQ(moments, kMoments);
  end();
  std::map<Outcome, int> outcomes;
  for (const MigrationResult& result : results_) ++outcomes[result.outcome];
  EXPECT_EQ(outcomes[Outcome::kFailed], 3);
  EXPECT_EQ(outcomes[Outcome::kSkipped], 3);
  EXPECT_EQ(outcomes[Outcome::kSucceeded], kVms - 6);
  const RunFrame last = orchestrator_->get_progress_tracker()->frame().run;
  EXPECT_EQ(last.completed, static_cast<std::size_t>(kVms - 6));
  EXPECT_EQ(last.skipped, 3u);
  EXPECT_LT(last.percentage.value_or(100), 100);  // three failed
  const RunRecord recorded = store_->runs(1).at(0);
  EXPECT_EQ(counts(recorded.progress), counts(run_progress_json(last)));
  EXPECT_NE(recorded.ended, 0);
}

/// A state whose next write takes as long as the test wants.
class HeldState final : public RunState {
 public:
  explicit HeldState(std::shared_ptr<StateStore> store) : store_(std::move(store)) {}
  void begin_run(const RunRecord& run, const std::vector<TaskRecord>& tasks) override {
    store_->begin_run(run, tasks);
  }
  void end_run(const std::string& run_id) override { store_->end_run(run_id); }
  std::unique_ptr<Group> update() override {
    gate.pass();
    return store_->update();
  }
  void save_result(const std::string& task_id, const json& result) override {
    store_->save_result(task_id, result);
  }
  std::vector<RunRecord> runs(std::size_t limit) override { return store_->runs(limit); }
  std::optional<RunRecord> run(const std::string& run_id) override { return store_->run(run_id); }
  std::vector<TaskRecord> tasks(const std::string& run_id) override {
    return store_->tasks(run_id);
  }
  std::optional<TaskDetail> task(const std::string& task_id) override {
    return store_->task(task_id);
  }
  std::vector<std::string> find_tasks(const std::string& text) override {
    return store_->find_tasks(text);
  }
  bool request_cancel(const std::string& task_id) override {
    return store_->request_cancel(task_id);
  }
  std::vector<std::string> cancel_requests(const std::string& run_id) override {
    return store_->cancel_requests(run_id);
  }
  Gate gate;

 private:
  const std::shared_ptr<StateStore> store_;
};

TEST_F(Displays, TheEndOfARunIsRecordedThoughTheStateWasBeingWritten) {
  const auto state = std::make_shared<HeldState>(store_);
  auto recorder = std::make_unique<RunRecorder>(
      state, "/night.yaml", [](const std::string&) {}, nullptr);
  const auto task = std::make_shared<TaskInfo>();
  task->task_id = "t1";
  task->run_id = "run-1";
  const auto now = WallClock::time_point(std::chrono::hours(1));
  recorder->on_event({now, nullptr, event::RunStarted{"run-1", "night", "ops", {task}}});
  recorder->on_event({now, task, event::TaskStarted{}});
  const std::atomic<bool> over{false};
  ASSERT_TRUE(state->gate.wait_for(1, over));  // it took what there was, and writes
  recorder->on_event({now, task, event::TaskFinished{}});
  std::thread ends([&] { recorder.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // until it is asked to end
  state->gate.open();
  ends.join();
  EXPECT_EQ(store_->tasks("run-1").at(0).status, "succeeded");
  EXPECT_NE(store_->runs(1).at(0).ended, 0);
}

TEST_F(Displays, AKilledRunEndsWhenItWasLastSeen) {
  // This process as it would be called had it begun at another time: one that is gone.
  const std::string& self = this_process();
  const std::string gone = self.substr(0, self.rfind(' ')) + " 1";
  RunRecord run{"run-1", "night", "/night.yaml", "ops", gone, 1000, 0, 0, {}};
  TaskRecord task;
  task.task_id = "t1";
  task.run_id = run.run_id;
  task.status = "running";
  task.started = 2000;
  store_->begin_run(run, {task});
  EXPECT_EQ(life_of(store_->runs(1).at(0)).end, 1000);  // it was killed before it wrote anything
  const auto group = store_->update();
  group->run_progress("run-1", {{"rate", 5}});
  group->task_progress(
      "t1", {{"percentage", 42.5}, {"current_stage", "convert"}, {"status", "converting"}});
  group->commit();
  const RunRecord recorded = store_->runs(1).at(0);
  const RunLife life = life_of(recorded);
  EXPECT_EQ(life.state, "killed");
  EXPECT_EQ(life.end, recorded.seen);
  EXPECT_GT(life.end, 1'700'000'000'000);
  const TaskRecord of = store_->tasks("run-1").at(0);
  EXPECT_EQ(task_status(of, life), "killed");
  EXPECT_EQ(stage_of(of), "convert");
  EXPECT_EQ(percent_text(of), "42 %");
}

}  // namespace
}  // namespace hyperhost::testing_memory
