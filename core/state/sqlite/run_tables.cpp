// SPDX-License-Identifier: Apache-2.0
// StateStore's side of RunState: runs, tasks and what belongs to them.
#include <chrono>

#include "core/state/sqlite/sqlite.hpp"
#include "core/state/sqlite/state_store.hpp"

namespace hyperhost {
namespace {

constexpr int64_t kRunsKept = 1000;
constexpr const char* kTaskColumns =
    "task_id, run_id, vm_name, provider, status, stage, started, ended, attempts, disks,"
    " guest_bytes, error, progress";
constexpr const char* kRunColumns =
    "run_id, plan, plan_file, user, owner, started, ended, seen, progress";

Millis now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

nlohmann::json parsed(const std::string& text) {
  return text.empty() ? nlohmann::json() : nlohmann::json::parse(text, nullptr, false);
}

std::string dumped(const nlohmann::json& value) {
  return value.is_null() ? std::string()
                         : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

TaskRecord task_row(const Statement& row) {
  TaskRecord task;
  task.task_id = row.text(0);
  task.run_id = row.text(1);
  task.vm_name = row.text(2);
  task.provider = row.text(3);
  task.status = row.text(4);
  task.stage = row.text(5);
  task.started = row.integer(6);
  task.ended = row.integer(7);
  task.attempts = static_cast<uint32_t>(row.integer(8));
  task.disks = static_cast<uint32_t>(row.integer(9));
  task.guest_bytes = static_cast<uint64_t>(row.integer(10));
  task.error = row.text(11);
  task.progress = parsed(row.text(12));
  return task;
}

RunRecord run_row(const Statement& row) {
  return {row.text(0),    row.text(1),    row.text(2),    row.text(3),        row.text(4),
          row.integer(5), row.integer(6), row.integer(7), parsed(row.text(8))};
}

int64_t number(uint64_t value) {
  return static_cast<int64_t>(value);
}

/// BEGIN IMMEDIATE … COMMIT; rolled back unless committed.
class Transaction {
 public:
  explicit Transaction(sqlite3* db) : db_(db) { Statement(db, "BEGIN IMMEDIATE").run(); }
  ~Transaction() {
    if (!done_) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() {
    Statement(db_, "COMMIT").run();
    done_ = true;
  }

 private:
  sqlite3* db_;
  bool done_ = false;
};

}  // namespace

class StateStore::Update final : public RunState::Group {
 public:
  Update(std::mutex& mutex, sqlite3* db) : lock_(mutex), db_(db), transaction_(db) {}

  void task(const TaskRecord& task) override {
    Statement(db_,
              "UPDATE tasks SET status = ?, stage = ?, started = ?, ended = ?, attempts = ?,"
              " disks = ?, guest_bytes = ?, error = ? WHERE task_id = ?")
        .bind(task.status)
        .bind(task.stage)
        .bind(task.started)
        .bind(task.ended)
        .bind(int64_t{task.attempts})
        .bind(int64_t{task.disks})
        .bind(number(task.guest_bytes))
        .bind(task.error)
        .bind(task.task_id)
        .run();
  }
  void stage(const std::string& task_id, const StageRecord& stage) override {
    Statement(db_, "INSERT OR REPLACE INTO stages VALUES(?, ?, ?, ?, ?, ?, ?)")
        .bind(task_id)
        .bind(stage.stage)
        .bind(stage.started)
        .bind(stage.ended)
        .bind(number(stage.bytes))
        .bind(number(stage.bytes_total))
        .bind(int64_t{stage.success})
        .run();
  }
  void attempt(const std::string& task_id, const AttemptRecord& attempt) override {
    Statement(db_, "INSERT OR REPLACE INTO attempts VALUES(?, ?, ?, ?, ?, ?)")
        .bind(task_id)
        .bind(int64_t{attempt.attempt})
        .bind(attempt.ended)
        .bind(attempt.code)
        .bind(attempt.error)
        .bind(attempt.delay_ms)
        .run();
  }
  void disk(const std::string& task_id, const DiskRecord& disk) override {
    Statement(db_, "INSERT OR REPLACE INTO disks VALUES(?, ?, ?, ?, ?, ?)")
        .bind(task_id)
        .bind(disk.disk_id)
        .bind(disk.stage)
        .bind(disk.status)
        .bind(number(disk.done))
        .bind(number(disk.total))
        .run();
  }
  void task_progress(const std::string& task_id, const nlohmann::json& progress) override {
    Statement(db_, "UPDATE tasks SET progress = ? WHERE task_id = ?")
        .bind(dumped(progress))
        .bind(task_id)
        .run();
  }
  void run_progress(const std::string& run_id, const nlohmann::json& progress) override {
    Statement(db_, "UPDATE runs SET seen = ?, progress = ? WHERE run_id = ?")
        .bind(now())
        .bind(dumped(progress))
        .bind(run_id)
        .run();
  }
  void commit() override {
    transaction_.commit();
    lock_.unlock();
  }

 private:
  std::unique_lock<std::mutex> lock_;
  sqlite3* db_;
  Transaction transaction_;
};

void StateStore::begin_run(const RunRecord& run, const std::vector<TaskRecord>& tasks) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(db_);
  Statement(db_,
            "INSERT INTO runs(run_id, plan, plan_file, user, owner, started, ended, seen)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6)")
      .bind(run.run_id)
      .bind(run.plan)
      .bind(run.plan_file)
      .bind(run.user)
      .bind(run.owner)
      .bind(run.started == 0 ? now() : run.started)
      .bind(run.ended)
      .run();
  int64_t position = 0;
  for (const TaskRecord& task : tasks)
    Statement(db_,
              "INSERT INTO tasks(task_id, position, run_id, vm_name, provider, status, stage,"
              " started, ended, attempts, disks, guest_bytes, error)"
              " VALUES(?, ?, ?, ?, ?, ?, '', 0, 0, 0, 0, 0, '')")
        .bind(task.task_id)
        .bind(position++)
        .bind(run.run_id)
        .bind(task.vm_name)
        .bind(task.provider)
        .bind(task.status)
        .run();
  Statement(db_,
            "DELETE FROM runs WHERE run_id IN"
            " (SELECT run_id FROM runs ORDER BY started DESC, run_id LIMIT -1 OFFSET ?)")
      .bind(kRunsKept)
      .run();
  transaction.commit();
}

void StateStore::end_run(const std::string& run_id) {
  const std::lock_guard lock(mutex_);
  Statement(db_, "UPDATE runs SET ended = ? WHERE run_id = ?").bind(now()).bind(run_id).run();
}

std::unique_ptr<RunState::Group> StateStore::update() {
  return std::make_unique<Update>(mutex_, db_);
}

void StateStore::save_result(const std::string& task_id, const nlohmann::json& result) {
  const std::lock_guard lock(mutex_);
  Statement(db_, "UPDATE tasks SET result = ? WHERE task_id = ?")
      .bind(dumped(result))
      .bind(task_id)
      .run();
}

std::vector<RunRecord> StateStore::runs(std::size_t limit) {
  const std::lock_guard lock(mutex_);
  std::vector<RunRecord> out;
  Statement rows(db_, (std::string("SELECT ") + kRunColumns +
                       " FROM runs ORDER BY started DESC, run_id DESC LIMIT ?")
                          .c_str());
  rows.bind(static_cast<int64_t>(limit));
  while (rows.step()) out.push_back(run_row(rows));
  return out;
}

std::optional<RunRecord> StateStore::run(const std::string& run_id) {
  const std::lock_guard lock(mutex_);
  Statement row(db_,
                (std::string("SELECT ") + kRunColumns + " FROM runs WHERE run_id = ?").c_str());
  row.bind(run_id);
  return row.step() ? std::optional(run_row(row)) : std::nullopt;
}

std::vector<TaskRecord> StateStore::tasks(const std::string& run_id) {
  const std::lock_guard lock(mutex_);
  std::vector<TaskRecord> out;
  Statement rows(db_, (std::string("SELECT ") + kTaskColumns +
                       " FROM tasks WHERE run_id = ? ORDER BY position")
                          .c_str());
  rows.bind(run_id);
  while (rows.step()) out.push_back(task_row(rows));
  return out;
}

std::optional<TaskDetail> StateStore::task(const std::string& task_id) {
  const std::lock_guard lock(mutex_);
  TaskDetail out;
  {
    Statement row(
        db_,
        (std::string("SELECT ") + kTaskColumns + ", result FROM tasks WHERE task_id = ?").c_str());
    row.bind(task_id);
    if (!row.step()) return std::nullopt;
    out.task = task_row(row);
    out.result = parsed(row.text(13));
  }
  Statement stages(db_,
                   "SELECT stage, started, ended, bytes, bytes_total, success FROM stages"
                   " WHERE task_id = ? ORDER BY started");
  stages.bind(task_id);
  while (stages.step())
    out.stages.push_back({stages.text(0), stages.integer(1), stages.integer(2),
                          static_cast<uint64_t>(stages.integer(3)),
                          static_cast<uint64_t>(stages.integer(4)), stages.integer(5) != 0});
  Statement attempts(db_,
                     "SELECT attempt, ended, code, error, delay_ms FROM attempts"
                     " WHERE task_id = ? ORDER BY attempt");
  attempts.bind(task_id);
  while (attempts.step())
    out.attempts.push_back({static_cast<uint32_t>(attempts.integer(0)), attempts.integer(1),
                            attempts.text(2), attempts.text(3), attempts.integer(4)});
  Statement disks(db_,
                  "SELECT disk_id, stage, status, done, total FROM disks"
                  " WHERE task_id = ? ORDER BY disk_id, stage");
  disks.bind(task_id);
  while (disks.step())
    out.disk_progress.push_back({disks.text(0), disks.text(1), disks.text(2),
                                 static_cast<uint64_t>(disks.integer(3)),
                                 static_cast<uint64_t>(disks.integer(4))});
  return out;
}

std::vector<std::string> StateStore::find_tasks(const std::string& text) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  Statement rows(db_,
                 "SELECT task_id FROM tasks JOIN runs USING(run_id)"
                 " WHERE substr(task_id, 1, length(?1)) = ?1 OR vm_name = ?1"
                 " ORDER BY runs.started DESC, position LIMIT 100");
  rows.bind(text);
  while (rows.step()) out.push_back(rows.text(0));
  return out;
}

bool StateStore::request_cancel(const std::string& task_id) {
  const std::lock_guard lock(mutex_);
  Statement(db_, "UPDATE tasks SET cancel = 1 WHERE task_id = ? AND ended = 0").bind(task_id).run();
  return sqlite3_changes(db_) == 1;
}

std::vector<std::string> StateStore::cancel_requests(const std::string& run_id) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  Statement rows(db_, "SELECT task_id FROM tasks WHERE run_id = ? AND cancel = 1 AND ended = 0");
  rows.bind(run_id);
  while (rows.step()) out.push_back(rows.text(0));
  return out;
}

std::vector<ResumeRecord> StateStore::resume_records(const std::string& target) {
  const std::lock_guard lock(mutex_);
  std::vector<ResumeRecord> out;
  Statement rows(db_,
                 "SELECT target, disk, fingerprint, phase, token, state, result FROM resume"
                 " WHERE ?1 = '' OR target = ?1 ORDER BY target, disk");
  rows.bind(target);
  while (rows.step())
    out.push_back({rows.text(0), rows.text(1), rows.text(2), rows.text(3), parsed(rows.text(4)),
                   parsed(rows.text(5)), parsed(rows.text(6))});
  return out;
}

void StateStore::insert_resume(const ResumeRecord& record) {
  Statement(db_, "INSERT OR REPLACE INTO resume VALUES(?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(record.target)
      .bind(record.disk)
      .bind(record.fingerprint)
      .bind(record.phase)
      .bind(dumped(record.token))
      .bind(dumped(record.state))
      .bind(dumped(record.result))
      .bind(now())
      .run();
}

void StateStore::save_resume(const ResumeRecord& record) {
  const std::lock_guard lock(mutex_);
  written([&] { insert_resume(record); });
}

void StateStore::finish_resume(const ResumeRecord& record) {
  const std::lock_guard lock(mutex_);
  written([&] {
    Transaction transaction(db_);
    Statement(db_, "DELETE FROM resume WHERE target = ?").bind(record.target).run();
    insert_resume(record);
    transaction.commit();
  });
}

void StateStore::forget_resume(const std::string& target) {
  const std::lock_guard lock(mutex_);
  written([&] { Statement(db_, "DELETE FROM resume WHERE target = ?").bind(target).run(); });
}

void StateStore::forget_resume(const std::string& target, const std::string& disk) {
  const std::lock_guard lock(mutex_);
  written([&] {
    Statement(db_, "DELETE FROM resume WHERE target = ? AND disk = ?")
        .bind(target)
        .bind(disk)
        .run();
  });
}

}  // namespace hyperhost
