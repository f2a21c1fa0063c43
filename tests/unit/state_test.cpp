// SPDX-License-Identifier: Apache-2.0
#include "core/state/state_store.hpp"

#include <gtest/gtest.h>
#include <hyper/hyper.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/os/process_identity.hpp"
#include "core/plugin/operation.hpp"
#include "core/state/sqlite.hpp"

namespace hyperhost {
namespace {

class State : public testing::Test {
 protected:
  State() {
    char name[] = "/tmp/hyperhost-state-XXXXXX";
    directory_ = std::filesystem::path(::mkdtemp(name)) / "state";
  }
  ~State() override {
    set_journal(nullptr);
    std::filesystem::remove_all(directory_.parent_path());
  }
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

TEST_F(State, OnlyItsOwnerMayReadIt) {
  StateStore::open(directory_);
  const auto mode = std::filesystem::status(directory_).permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_all);
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

TEST_F(State, PluginsSeeTheJournalThatIsSetAndNoneOtherwise) {
  EXPECT_EQ(host_table()->get_ext(HYPER_EXT_JOURNAL), nullptr);
  set_journal(StateStore::open(directory_));
  const auto* table = static_cast<const hyper_journal*>(host_table()->get_ext(HYPER_EXT_JOURNAL));
  ASSERT_NE(table, nullptr);
  Operation op("test", CancelSource::create());
  uint64_t entry = 0;
  const char* snapshot = R"({"plugin": "vsphere", "kind": "snapshot", "ref": "snapshot-1"})";
  EXPECT_EQ(table->open(&op, R"({"kind": "snapshot"})", &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, "[]", &entry), HYPER_FAIL);
  EXPECT_EQ(table->open(&op, std::string(70'000, ' ').c_str(), &entry), HYPER_FAIL);
  ASSERT_EQ(table->open(&op, snapshot, &entry), HYPER_OK);
  std::string listed;
  const auto keep = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
    static_cast<std::string*>(arg)->assign(json, len);
    return HYPER_OK;
  };
  EXPECT_EQ(table->list(&op, "vsphere", keep, &listed), HYPER_OK);
  const auto back = nlohmann::json::parse(listed);
  EXPECT_EQ(back["entry"], entry);
  EXPECT_EQ(back["ref"], "snapshot-1");
  EXPECT_EQ(table->close(&op, entry), HYPER_OK);
  EXPECT_EQ(open_kinds("vsphere"), std::vector<std::string>{});
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

}  // namespace
}  // namespace hyperhost
