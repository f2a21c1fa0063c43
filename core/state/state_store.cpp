// SPDX-License-Identifier: Apache-2.0
#include "core/state/state_store.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "core/os/process_identity.hpp"
#include "core/state/sqlite.hpp"

namespace hyperhost {
namespace {

/// Step k takes a database of version k to version k + 1. Steps are never changed once released.
constexpr const char* kSteps[] = {
    "CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, plugin TEXT NOT NULL,"
    " created INTEGER NOT NULL, what TEXT NOT NULL);"
    "CREATE INDEX journal_plugin ON journal(plugin, id);",
    "ALTER TABLE journal ADD COLUMN owner TEXT NOT NULL DEFAULT '';",
};
constexpr int64_t kVersion = std::size(kSteps);

void execute(sqlite3* db, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    throw sqlite_error(db, "state database");
}

}  // namespace

std::filesystem::path default_state_dir() {
  if (const char* set = std::getenv("HYPERHOST_STATE_DIR"); set != nullptr && *set != '\0')
    return std::filesystem::absolute(set);
  if (::geteuid() == 0) return "/var/lib/hyperhost";
  if (const char* set = std::getenv("XDG_STATE_HOME"); set != nullptr && *set == '/')
    return std::filesystem::path(set) / "hyperhost";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/')
    throw Error(Code::kConfig, "there is no place for the state: HOME is not set", "",
                "set HYPERHOST_STATE_DIR");
  return std::filesystem::path(home) / ".local/state/hyperhost";
}

std::shared_ptr<StateStore> StateStore::open(const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::create_directories(directory.parent_path(), failed);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    throw errno_error(errno, "make the state directory " + directory.string());
  const std::filesystem::path file = directory / "state.db";
  sqlite3* db = nullptr;
  const int opened =
      sqlite3_open_v2(file.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  const std::shared_ptr<StateStore> store(new StateStore(file, db));
  if (opened != SQLITE_OK) throw sqlite_error(db, "open " + file.string());
  sqlite3_busy_timeout(db, 10'000);
  store->migrate();
  return store;
}

StateStore::~StateStore() {
  sqlite3_close(db_);
}

void StateStore::migrate() {
  execute(db_, "PRAGMA journal_mode=WAL");
  execute(db_, "PRAGMA synchronous=FULL");
  execute(db_, "BEGIN IMMEDIATE");
  int64_t version = 0;
  {
    Statement statement(db_, "PRAGMA user_version");
    if (statement.step()) version = statement.integer(0);
  }
  if (version > kVersion) {
    execute(db_, "ROLLBACK");
    throw Error(Code::kUnsupported, file_.string() + " was written by a newer hyperhost (format " +
                                        std::to_string(version) + ", this one knows " +
                                        std::to_string(kVersion) + ")");
  }
  for (; version < kVersion; ++version) execute(db_, kSteps[version]);
  execute(db_, "PRAGMA user_version=" + std::to_string(kVersion));
  execute(db_, "COMMIT");
}

uint64_t StateStore::open_entry(const std::string& plugin, const nlohmann::json& what) {
  const std::lock_guard lock(mutex_);
  Statement(db_,
            "INSERT INTO journal(plugin, created, what, owner) VALUES(?, strftime('%s'), ?, ?)")
      .bind(plugin)
      .bind(what.dump())
      .bind(this_process())
      .run();
  return static_cast<uint64_t>(sqlite3_last_insert_rowid(db_));
}

void StateStore::update_entry(uint64_t id, const nlohmann::json& what) {
  const std::lock_guard lock(mutex_);
  Statement(db_, "UPDATE journal SET what = ?, owner = ? WHERE id = ?")
      .bind(what.dump())
      .bind(this_process())
      .bind(static_cast<int64_t>(id))
      .run();
  if (sqlite3_changes(db_) != 1)
    throw Error(Code::kNotFound, "there is no journal entry " + std::to_string(id));
}

void StateStore::close_entry(uint64_t id) {
  const std::lock_guard lock(mutex_);
  Statement(db_, "DELETE FROM journal WHERE id = ?").bind(static_cast<int64_t>(id)).run();
}

void StateStore::each_entry(const std::string& plugin,
                            const std::function<void(const JournalEntry&)>& on_entry) {
  std::vector<JournalEntry> entries;  // on_entry may write to the journal
  {
    const std::lock_guard lock(mutex_);
    Statement rows(
        db_,
        "SELECT id, plugin, what, owner FROM journal WHERE ?1 = '' OR plugin = ?1 ORDER BY id");
    rows.bind(plugin);
    while (rows.step()) {
      const auto what = nlohmann::json::parse(rows.text(2), nullptr, false);
      if (what.is_object())
        entries.push_back(
            {static_cast<uint64_t>(rows.integer(0)), rows.text(1), what, rows.text(3)});
    }
  }
  for (const JournalEntry& entry : entries) on_entry(entry);
}

}  // namespace hyperhost
