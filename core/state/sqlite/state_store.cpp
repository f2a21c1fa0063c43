// SPDX-License-Identifier: Apache-2.0
#include "core/state/sqlite/state_store.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "core/os/process_identity.hpp"
#include "core/state/sqlite/sqlite.hpp"

namespace hyperhost {
namespace {

/// Step k takes a database of version k to version k + 1. Steps are never changed once released.
constexpr const char* kSteps[] = {
    "CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, plugin TEXT NOT NULL,"
    " created INTEGER NOT NULL, what TEXT NOT NULL);"
    "CREATE INDEX journal_plugin ON journal(plugin, id);",
    "ALTER TABLE journal ADD COLUMN owner TEXT NOT NULL DEFAULT '';",
    "CREATE TABLE runs (run_id TEXT PRIMARY KEY, plan TEXT NOT NULL, plan_file TEXT NOT NULL,"
    " user TEXT NOT NULL, owner TEXT NOT NULL, started INTEGER NOT NULL,"
    " ended INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX runs_started ON runs(started);"
    "CREATE TABLE tasks (task_id TEXT PRIMARY KEY, position INTEGER NOT NULL,"
    " run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE, vm_name TEXT NOT NULL,"
    " provider TEXT NOT NULL, status TEXT NOT NULL, stage TEXT NOT NULL, started INTEGER NOT NULL,"
    " ended INTEGER NOT NULL, attempts INTEGER NOT NULL, disks INTEGER NOT NULL,"
    " guest_bytes INTEGER NOT NULL, error TEXT NOT NULL, result TEXT,"
    " cancel INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX tasks_run ON tasks(run_id, position);"
    "CREATE TABLE stages (task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,"
    " stage TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL, bytes INTEGER NOT "
    "NULL,"
    " bytes_total INTEGER NOT NULL, success INTEGER NOT NULL, PRIMARY KEY(task_id, stage));"
    "CREATE TABLE attempts (task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,"
    " attempt INTEGER NOT NULL, ended INTEGER NOT NULL, code TEXT NOT NULL, error TEXT NOT NULL,"
    " delay_ms INTEGER NOT NULL, PRIMARY KEY(task_id, attempt));"
    "CREATE TABLE disks (task_id TEXT NOT NULL REFERENCES tasks(task_id) ON DELETE CASCADE,"
    " disk_id TEXT NOT NULL, stage TEXT NOT NULL, status TEXT NOT NULL, done INTEGER NOT NULL,"
    " total INTEGER NOT NULL, PRIMARY KEY(task_id, disk_id, stage));"
    "CREATE TABLE resume (target TEXT NOT NULL, disk TEXT NOT NULL, fingerprint TEXT NOT NULL,"
    " phase TEXT NOT NULL, token TEXT NOT NULL, state TEXT NOT NULL, result TEXT NOT NULL,"
    " updated INTEGER NOT NULL, PRIMARY KEY(target, disk));",
    "ALTER TABLE runs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE runs ADD COLUMN progress TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE tasks ADD COLUMN progress TEXT NOT NULL DEFAULT '';",
};
constexpr int kReserve = 256 << 10;
constexpr int64_t kVersion = std::size(kSteps);

void execute(sqlite3* db, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    throw sqlite_error(db, "state database");
}

/// The state says which files are complete and which snapshots are to be removed: a user
/// with write access can have any of them removed.
void check_private(const std::filesystem::path& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0)
    throw errno_error(errno, "examine the state directory " + directory.string());
  if (!S_ISDIR(info.st_mode))
    throw Error(Code::kConfig, "the state directory " + directory.string() + " is no directory");
  if (info.st_uid != 0 && info.st_uid != ::geteuid())
    throw Error(Code::kConfig,
                "the state directory " + directory.string() + " belongs to another user", "",
                "run as that user, or set HYPERHOST_STATE_DIR");
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    throw Error(Code::kConfig, "others may write to the state directory " + directory.string(), "",
                "chmod go-w " + directory.string());
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

std::shared_ptr<StateStore> StateStore::open(const std::filesystem::path& directory, bool check) {
  std::error_code failed;
  std::filesystem::create_directories(directory.parent_path(), failed);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    throw errno_error(errno, "make the state directory " + directory.string());
  check_private(directory);
  const std::filesystem::path file = directory / "state.db";
  sqlite3* db = nullptr;
  const int opened =
      sqlite3_open_v2(file.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::shared_ptr<StateStore> store(new StateStore(file, db));
  if (opened != SQLITE_OK) throw sqlite_error(db, "open " + file.string());
  sqlite3_busy_timeout(db, 10'000);
  store->migrate();
  store->remember_file();
  if (check) {
    const auto quick_check = [db] {  // it reads until its end, which would hold up the checkpoint
      Statement statement(db, "PRAGMA quick_check(1)");
      return statement.step() ? statement.text(0) : "no answer";
    };
    const std::string found = quick_check();
    if (found != "ok")
      throw Error(Code::kCorrupt, "the state database " + file.string() + " is damaged", found,
                  "move it away; finished files are not affected, unfinished ones start from the "
                  "beginning");
    store->reserve();
  }
  return store;
}

void StateStore::remember_file() {
  struct stat info {};
  if (::stat(file_.c_str(), &info) != 0) throw errno_error(errno, "examine " + file_.string());
  device_ = info.st_dev;
  inode_ = info.st_ino;
}

/// What is written to a file without a name is seen by no later run.
void StateStore::check_named() const {
  struct stat info {};
  if (::stat(file_.c_str(), &info) != 0 || info.st_dev != device_ || info.st_ino != inode_)
    throw Error(Code::kIo,
                "the state database " + file_.string() + " was removed while it was used", "",
                "start the run again");
}

/// Free pages in the database and in its write-ahead log: the end of a run can be recorded where
/// the file system has become full.
void StateStore::reserve() try {
  execute(db_,
          "INSERT OR REPLACE INTO resume(target, disk, fingerprint, phase, token, state, result,"
          " updated) VALUES('', '', '', '', '', zeroblob(" +
              std::to_string(kReserve) + "), '', 0)");
  execute(db_, "DELETE FROM resume WHERE target = ''");
  // Now the database has the pages on the disk, and the log its length.
  sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
} catch (const Error&) {
  return;  // another process writes just now, or the first real write will say what is wrong
}

/// Runs `write`; where there is no space, once more into the log's own space.
void StateStore::written(const std::function<void()>& write) {
  check_named();
  try {
    write();
    return;
  } catch (const Error& failure) {
    if (failure.code() != Code::kNoSpace) throw;
  }
  sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
  write();
}

StateStore::~StateStore() {
  sqlite3_close(db_);
}

void StateStore::migrate() {
  execute(db_, "PRAGMA journal_mode=WAL");
  execute(db_, "PRAGMA synchronous=FULL");
  execute(db_, "PRAGMA foreign_keys=ON");
  const auto version_now = [&] {
    Statement statement(db_, "PRAGMA user_version");
    return statement.step() ? statement.integer(0) : 0;
  };
  if (version_now() == kVersion) return;  // a reader waits for no writer
  execute(db_, "BEGIN IMMEDIATE");
  int64_t version = version_now();
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
  written([&] {
    Statement(db_,
              "INSERT INTO journal(plugin, created, what, owner) VALUES(?, strftime('%s'), ?, ?)")
        .bind(plugin)
        .bind(what.dump())
        .bind(this_process())
        .run();
  });
  return static_cast<uint64_t>(sqlite3_last_insert_rowid(db_));
}

void StateStore::update_entry(uint64_t id, const nlohmann::json& what) {
  const std::lock_guard lock(mutex_);
  written([&] {
    Statement(db_, "UPDATE journal SET what = ?, owner = ? WHERE id = ?")
        .bind(what.dump())
        .bind(this_process())
        .bind(static_cast<int64_t>(id))
        .run();
  });
  if (sqlite3_changes(db_) != 1)
    throw Error(Code::kNotFound, "there is no journal entry " + std::to_string(id));
}

void StateStore::close_entry(uint64_t id) {
  const std::lock_guard lock(mutex_);
  written([&] {
    Statement(db_, "DELETE FROM journal WHERE id = ?").bind(static_cast<int64_t>(id)).run();
  });
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
