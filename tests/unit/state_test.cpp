// SPDX-License-Identifier: Apache-2.0
#include "core/state/sqlite/state_store.hpp"

#include <gtest/gtest.h>
#include <hyper/hyper.h>
#include <hyper/op.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/os/process_identity.hpp"
#include "core/plugin/documents.hpp"
#include "core/plugin/operation.hpp"
#include "core/state/host_entries.hpp"
#include "core/state/sqlite/sqlite.hpp"

namespace hyperhost {
namespace {

class State : public testing::Test {
 protected:
  State() {
    char name[] = "/tmp/hyperhost-state-XXXXXX";
    directory_ = std::filesystem::path(::mkdtemp(name)) / "state";
  }
  ~State() override { std::filesystem::remove_all(directory_.parent_path()); }
  std::vector<std::string> open_kinds(const std::string& plugin) {
    std::vector<std::string> out;
    StateStore::open(directory_)->each_entry(plugin, [&](const JournalEntry& entry) {
      out.push_back(entry.what.value("kind", ""));
    });
    return out;
  }
  std::filesystem::path directory_;
};

TEST_F(State, EntriesOutliveTheStoreUntilTheyAreClosed) {
  uint64_t first = 0;
  {
    const auto store = StateStore::open(directory_);
    first = store->open_entry("vsphere", {{"plugin", "vsphere"}, {"kind", "snapshot"}});
    store->open_entry("s3", {{"plugin", "s3"}, {"kind", "upload"}});
    store->update_entry(first, {{"plugin", "vsphere"}, {"kind", "lease"}});
  }
  EXPECT_EQ(open_kinds(""), (std::vector<std::string>{"lease", "upload"}));
  EXPECT_EQ(open_kinds("vsphere"), std::vector<std::string>{"lease"});
  StateStore::open(directory_)->close_entry(first);
  EXPECT_EQ(open_kinds("vsphere"), std::vector<std::string>{});
  EXPECT_THROW(StateStore::open(directory_)->update_entry(first, {}), Error);
}

TEST_F(State, WhoeverHoldsALockClosesEarlierEntriesOfItsFile) {
  const auto store = StateStore::open(directory_);
  const auto output = directory_.parent_path();
  store->open_entry(kHostEntries, {{"plugin", kHostEntries},
                                   {"kind", kLockEntry},
                                   {"where", output.string()},
                                   {"ref", ".hyperhost-night.lock"}});
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((directory_ / "state.db").c_str(), &db), SQLITE_OK);
  Statement(db, "UPDATE journal SET owner = 'elsewhere boot pid:[7] 1 1'").run();  // a container
  sqlite3_close(db);
  {
    const OutputLock lock(store, output, "night", "admin");
    const auto vm = OutputLock::of_vm(store, output, "night");
    EXPECT_EQ(open_kinds("").size(), 2u);
    EXPECT_THROW(OutputLock::of_vm(store, output, "night"), Error);
  }
  EXPECT_TRUE(open_kinds("").empty());
  EXPECT_FALSE(std::filesystem::exists(output / ".hyperhost-night.vm-lock"));
}

TEST_F(State, ADatabaseThatWasRemovedIsNotWrittenTo) {
  const auto store = StateStore::open(directory_, true);
  const uint64_t entry = store->open_entry("s3", {{"kind", "upload"}});
  std::filesystem::remove(directory_ / "state.db");
  const auto refused = [](const std::function<void()>& write) {
    try {
      write();
    } catch (const Error& failure) {
      return std::string(failure.what()).find("was removed") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused([&] { store->open_entry("s3", {}); }));
  EXPECT_TRUE(refused([&] { store->update_entry(entry, {}); }));
  EXPECT_TRUE(refused([&] { store->save_resume({"t", "d", "f", "writing", {}, {}, {}}); }));
  StateStore::open(directory_);  // another one under the name
  EXPECT_TRUE(refused([&] { store->open_entry("s3", {}); }));
}

TEST_F(State, ResumeRecordsOfAllTargets) {
  const auto store = StateStore::open(directory_, true);
  EXPECT_TRUE(store->resume_records("").empty()) << "what the store reserves is no record";
  store->save_resume({"b", "disk-0", "f", "writing", {}, {}, {}});
  store->save_resume({"a", "disk-0", "f", "written", {}, {}, {}});
  ASSERT_EQ(store->resume_records("").size(), 2u);
  EXPECT_EQ(store->resume_records("")[0].target, "a");
  EXPECT_EQ(store->resume_records("b").size(), 1u);
}

TEST_F(State, OnlyItsOwnerMayReadIt) {
  StateStore::open(directory_);
  const auto mode = std::filesystem::status(directory_).permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_all);
}

TEST_F(State, ADirectoryThatOthersMayWriteToIsRefused) {
  StateStore::open(directory_);
  std::filesystem::permissions(directory_, std::filesystem::perms::all);
  try {
    StateStore::open(directory_);
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_EQ(error.diagnostic().hint, "chmod go-w " + directory_.string());
  }
}

TEST_F(State, ADatabaseOfANewerProgramOrADamagedOneIsRefusedByName) {
  StateStore::open(directory_);
  const std::string file = directory_ / "state.db";
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  sqlite3_exec(db, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  try {
    StateStore::open(directory_);
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUnsupported);
    EXPECT_NE(std::string(error.what()).find(file), std::string::npos);
  }
  std::filesystem::remove_all(directory_);
  std::filesystem::create_directory(directory_);
  std::ofstream(file) << std::string(8192, 'x');
  try {
    StateStore::open(directory_);
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
  }
}

TEST_F(State, PluginsWriteToTheJournalOfTheOperationTheyAreCalledWith) {
  const auto* table = static_cast<const hyper_journal*>(host_table()->get_ext(HYPER_EXT_JOURNAL));
  ASSERT_NE(table, nullptr);
  uint64_t entry = 0;
  const hyper_doc snapshot{{{"plugin", "vsphere"}, {"kind", "snapshot"}, {"ref", "snapshot-1"}}};
  Operation none("test", CancelSource::create());
  EXPECT_EQ(table->open(&none, 0, &snapshot, &entry), HYPER_UNSUPPORTED);
  EXPECT_EQ(table->open(nullptr, 0, &snapshot, &entry), HYPER_UNSUPPORTED);
  EXPECT_TRUE(none.diagnostics().empty());
  EXPECT_FALSE(hyper::Journal::kept(hyper::Op(&none)));
  Operation op("test", CancelSource::create(), {StateStore::open(directory_)});
  EXPECT_TRUE(hyper::Journal::kept(hyper::Op(&op)));
  const hyper_doc of_no_plugin{{{"kind", "snapshot"}}};
  const hyper_doc no_object{nlohmann::json::array()};
  const hyper_doc too_long{{{"plugin", "vsphere"}, {"ref", std::string(70'000, 'x')}}};
  EXPECT_EQ(table->open(&op, 0, &of_no_plugin, &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, 0, &no_object, &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, 0, &too_long, &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, 0, nullptr, &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, 1, &snapshot, &entry), HYPER_UNSUPPORTED);
  ASSERT_EQ(table->open(&op, 0, &snapshot, &entry), HYPER_OK);
  std::string listed;
  const auto keep = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
    static_cast<std::string*>(arg)->assign(json, len);
    return HYPER_OK;
  };
  EXPECT_EQ(table->list(&op, 0, "vsphere", keep, &listed), HYPER_OK);
  const auto back = nlohmann::json::parse(listed);
  EXPECT_EQ(back["entry"], entry);
  EXPECT_EQ(back["ref"], "snapshot-1");
  EXPECT_EQ(back["abandoned"], false);
  EXPECT_EQ(table->close(&op, 0, entry), HYPER_OK);
  EXPECT_EQ(open_kinds("vsphere"), std::vector<std::string>{});
}

TEST_F(State, AFailureOfTheJournalReachesThePluginsOperationWhole) {
  class Failing final : public Journal {
    uint64_t open_entry(const std::string&, const nlohmann::json&) override {
      Diagnostic out;
      out.code = Code::kBusy;
      out.summary = "locked";
      out.hint = "wait";
      out.path = "/state";
      out.retryable = true;
      out.retry_after = std::chrono::seconds(3);
      throw Error(out);
    }
    void update_entry(uint64_t, const nlohmann::json&) override {}
    void close_entry(uint64_t) override {}
    void each_entry(const std::string&, const std::function<void(const JournalEntry&)>&) override {}
  };
  Operation op("test", CancelSource::create(), {std::make_shared<Failing>()});
  uint64_t entry = 0;
  const hyper_doc what{{{"plugin", "vsphere"}}};
  EXPECT_EQ(journal_table()->open(&op, 0, &what, &entry), HYPER_BUSY);
  ASSERT_EQ(op.diagnostics().size(), 1u);
  const Diagnostic said = op.diagnostics()[0];
  EXPECT_TRUE(said.retryable);
  EXPECT_EQ(said.retry_after, std::chrono::seconds(3));
  EXPECT_EQ(said.summary + said.hint + said.path, "lockedwait/state");
}

TEST_F(State, AnEntryKnowsWhetherItsProcessLives) {
  StateStore::open(directory_)->open_entry("vsphere", {{"plugin", "vsphere"}});
  std::string owner;
  StateStore::open(directory_)->each_entry("", [&](const JournalEntry& e) { owner = e.owner; });
  EXPECT_EQ(process_state(owner), ProcessState::kAlive);
  const std::size_t start = owner.rfind(' ');
  // Another process that got the same pid later; another boot; another machine.
  EXPECT_EQ(process_state(owner.substr(0, start) + " 1"), ProcessState::kGone);
  std::istringstream words(owner);
  std::string host, boot, space, pid, ticks;
  words >> host >> boot >> space >> pid >> ticks;
  EXPECT_EQ(process_state(host + " other-boot " + space + " " + pid + " " + ticks),
            ProcessState::kGone);
  EXPECT_EQ(process_state("elsewhere other-boot " + space + " " + pid + " " + ticks),
            ProcessState::kUnseen);
  EXPECT_EQ(process_state("garbage"), ProcessState::kGone);
}

TEST_F(State, RunsAndTheirTasksOutliveTheStore) {
  {
    const auto store = StateStore::open(directory_);
    RunRecord run{"run-1", "night", "/plans/night.yaml", "admin", this_process(), 1000, 0};
    TaskRecord one, two;
    one.task_id = "task-1";
    one.vm_name = "web";
    one.status = two.status = "pending";
    two.task_id = "task-2";
    two.vm_name = "db";
    store->begin_run(run, {one, two});
    const auto group = store->update();
    one.status = "failed";
    one.ended = 5000;
    one.error = "no";
    group->task(one);
    group->stage("task-1", {"convert", 2000, 3000, 7, 9, true});
    group->attempt("task-1", {1, 2500, "io", "cable", 500});
    group->disk("task-1", {"disk-0", "convert", "running", 5, 10});
    group->disk("task-1", {"disk-0", "convert", "done", 10, 10});
    group->commit();
    store->save_result("task-1", {{"outcome", "failed"}});
  }
  const auto store = StateStore::open(directory_, true);
  ASSERT_EQ(store->runs(10).size(), 1u);
  EXPECT_EQ(store->runs(10)[0].ended, 0);
  EXPECT_EQ(store->tasks("run-1").size(), 2u);
  const auto detail = store->task("task-1");
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->task.status, "failed");
  EXPECT_EQ(detail->stages.at(0).bytes_total, 9u);
  EXPECT_EQ(detail->attempts.at(0).error, "cable");
  ASSERT_EQ(detail->disk_progress.size(), 1u);
  EXPECT_EQ(detail->disk_progress[0].status, "done");
  EXPECT_EQ(detail->result["outcome"], "failed");
  EXPECT_EQ(store->find_tasks("web"), std::vector<std::string>{"task-1"});
  EXPECT_EQ(store->find_tasks("task-").size(), 2u);
  EXPECT_FALSE(store->request_cancel("task-1"));  // it has ended
  EXPECT_TRUE(store->request_cancel("task-2"));
  EXPECT_EQ(store->cancel_requests("run-1"), std::vector<std::string>{"task-2"});
  store->end_run("run-1");
  EXPECT_NE(store->run("run-1")->ended, 0);
}

TEST_F(State, AGroupThatIsNotCommittedLeavesNothing) {
  const auto store = StateStore::open(directory_);
  TaskRecord task;
  task.task_id = "task-1";
  task.status = "pending";
  store->begin_run({"run-1", "", "", "", "", 1, 0}, {task});
  task.status = "running";
  store->update()->task(task);
  EXPECT_EQ(store->task("task-1")->task.status, "pending");
}

TEST_F(State, ResumeRecordsOfATargetAreReplacedByTheVmsOwn) {
  const auto store = StateStore::open(directory_);
  ResumeRecord disk;
  disk.target = "/out/vm";
  disk.disk = "disk-0";
  disk.phase = "writing";
  disk.token = {{"sink", {{"unfinished", "x"}}}};
  disk.state = {{"length", 5}};
  store->save_resume(disk);
  disk.state = {{"length", 6}};
  store->save_resume(disk);
  ASSERT_EQ(store->resume_records("/out/vm").size(), 1u);
  EXPECT_EQ(store->resume_records("/out/vm")[0].state["length"], 6);
  EXPECT_TRUE(store->resume_records("/out").empty());
  ResumeRecord vm;
  vm.target = "/out/vm";
  vm.phase = "finished";
  store->finish_resume(vm);
  ASSERT_EQ(store->resume_records("/out/vm").size(), 1u);
  EXPECT_EQ(store->resume_records("/out/vm")[0].phase, "finished");
  store->forget_resume("/out/vm");
  EXPECT_TRUE(store->resume_records("/out/vm").empty());
}

TEST_F(State, ALockThatIsALinkToAnotherFileIsRefusedAndTheFileStaysAsItIs) {
  const auto store = StateStore::open(directory_);
  const auto output = directory_.parent_path();
  const auto victim = output / "victim";
  std::ofstream(victim) << "precious";
  std::filesystem::create_hard_link(victim, output / ".hyperhost-night.lock");
  EXPECT_THROW(OutputLock(store, output, "night", "admin"), Error);
  std::string text;
  std::getline(std::ifstream(victim), text);
  EXPECT_EQ(text, "precious");
  std::filesystem::remove(victim);
  std::filesystem::remove(output / ".hyperhost-night.lock");
}

TEST_F(State, TheHostsOwnLeftoversAreHeldThenUndone) {
  const auto store = StateStore::open(directory_);
  const auto output = directory_.parent_path();
  const auto lock = std::make_unique<OutputLock>(store, output, "night", "admin");
  EXPECT_TRUE(lock->file().taken_over_from().empty());
  try {
    const OutputLock second(store, output, "night", "admin");
    FAIL() << "two runs of a plan";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kBusy);
    EXPECT_NE(std::string(error.what()).find(std::to_string(::getpid())), std::string::npos);
  }
  const OutputLock other(store, output, "day", "admin");  // another plan may
  std::vector<JournalEntry> entries;
  store->each_entry(kHostEntries, [&](const JournalEntry& entry) { entries.push_back(entry); });
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_THROW(undo_host_entry(entries[0]), Error);  // held
  // Of a process that is gone, it is taken over; and its file may be removed.
  const auto file = output / ".hyperhost-gone.lock";
  std::ofstream(file) << "host boot pid:[1] 1 1\nsomebody\n";
  {
    const OutputLock taken(store, output, "gone", "admin");
    EXPECT_EQ(taken.file().taken_over_from(), "process 1 on host");
  }
  EXPECT_FALSE(std::filesystem::exists(file));
  std::ofstream(file) << "host boot pid:[1] 1 1\n";
  JournalEntry entry;
  entry.what = {{"kind", kLockEntry}, {"where", output.string()}, {"ref", file.filename()}};
  undo_host_entry(entry);
  EXPECT_FALSE(std::filesystem::exists(file));
  entry.what["ref"] = "../precious";
  EXPECT_THROW(undo_host_entry(entry), Error);
}

}  // namespace
}  // namespace hyperhost
