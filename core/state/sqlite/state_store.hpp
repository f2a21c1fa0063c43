// SPDX-License-Identifier: Apache-2.0
// What outlives a run: one SQLite database (WAL, synchronous=FULL) in the state directory. Its
// schema is versioned; a file from a newer program or a damaged one is refused by name.
// Thread-safe; several processes may have it open.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>

#include "core/state/journal.hpp"
#include "core/state/resume_store.hpp"
#include "core/state/run_state.hpp"

struct sqlite3;

namespace hyperhost {

/// HYPERHOST_STATE_DIR; else /var/lib/hyperhost for root and $XDG_STATE_HOME/hyperhost
/// (~/.local/state/hyperhost) for others.
std::filesystem::path default_state_dir();

class StateStore final : public Journal, public RunState, public ResumeStore {
 public:
  /// Makes the directory (mode 0700) and the database where missing. check: reads all of it for
  /// damage first. Throws Error.
  static std::shared_ptr<StateStore> open(const std::filesystem::path& directory,
                                          bool check = false);
  ~StateStore() override;

  uint64_t open_entry(const std::string& plugin, const nlohmann::json& what) override;
  void update_entry(uint64_t id, const nlohmann::json& what) override;
  void close_entry(uint64_t id) override;
  void each_entry(const std::string& plugin,
                  const std::function<void(const JournalEntry&)>& on_entry) override;

  void begin_run(const RunRecord& run, const std::vector<TaskRecord>& tasks) override;
  void end_run(const std::string& run_id) override;
  std::unique_ptr<Group> update() override;
  void save_result(const std::string& task_id, const nlohmann::json& result) override;
  std::vector<RunRecord> runs(std::size_t limit) override;
  std::optional<RunRecord> run(const std::string& run_id) override;
  std::vector<TaskRecord> tasks(const std::string& run_id) override;
  std::optional<TaskDetail> task(const std::string& task_id) override;
  std::vector<std::string> find_tasks(const std::string& text) override;
  bool request_cancel(const std::string& task_id) override;
  std::vector<std::string> cancel_requests(const std::string& run_id) override;
  /// target "": of all targets.
  std::vector<ResumeRecord> resume_records(const std::string& target) override;
  void save_resume(const ResumeRecord& record) override;
  void finish_resume(const ResumeRecord& record) override;
  void forget_resume(const std::string& target) override;
  void forget_resume(const std::string& target, const std::string& disk) override;

 private:
  class Update;
  void insert_resume(const ResumeRecord& record);
  StateStore(const std::filesystem::path& file, sqlite3* db) : file_(file), db_(db) {}
  void migrate();
  void remember_file();
  void check_named() const;
  void reserve();
  void written(const std::function<void()>& write);

  const std::filesystem::path file_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  sqlite3* db_;
  std::mutex mutex_;
};

}  // namespace hyperhost
