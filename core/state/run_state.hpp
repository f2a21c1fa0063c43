// SPDX-License-Identifier: Apache-2.0
// The history of runs: their tasks (one a VM) with stages, attempts, disks and results. One narrow
// interface, so that a fleet of hosts can keep it elsewhere; StateStore implements it over SQLite.
// Owned by the host. Thread-safe. Every call throws Error when the store fails.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace hyperhost {

/// Milliseconds since 1970; 0 = not yet.
using Millis = int64_t;

struct RunRecord {
  std::string run_id, plan, plan_file, user;
  std::string owner;  ///< the process: core/os/process_identity.hpp
  Millis started = 0, ended = 0;
  Millis seen = 0;  ///< when its process last wrote: the time of its death if it was killed
  nlohmann::json progress = nullptr;  ///< as the API's run object showed it then; null before
};

struct StageRecord {
  std::string stage;
  Millis started = 0, ended = 0;
  uint64_t bytes = 0, bytes_total = 0;
  bool success = false;
};

struct AttemptRecord {
  uint32_t attempt = 0;  ///< the one that failed, from 1
  Millis ended = 0;
  std::string code, error;
  int64_t delay_ms = 0;  ///< to the next one
};

struct DiskRecord {
  std::string disk_id, stage;
  std::string status;  ///< running, done, failed
  uint64_t done = 0, total = 0;
};

struct TaskRecord {
  std::string task_id, run_id, vm_name, provider;
  std::string status;  ///< pending, running, succeeded, failed, cancelled, skipped
  std::string stage;   ///< the last one that began
  Millis started = 0, ended = 0;
  uint32_t attempts = 0, disks = 0;
  uint64_t guest_bytes = 0;
  std::string error;
  nlohmann::json progress = nullptr;  ///< as the API's task object showed it last; null before
};

/// A task with all that belongs to it.
struct TaskDetail {
  TaskRecord task;
  std::vector<StageRecord> stages;
  std::vector<AttemptRecord> attempts;
  std::vector<DiskRecord> disk_progress;
  nlohmann::json result;  ///< as `result TASK` prints it; null before the end
};

class RunState {
 public:
  virtual ~RunState() = default;

  virtual void begin_run(const RunRecord& run, const std::vector<TaskRecord>& tasks) = 0;
  virtual void end_run(const std::string& run_id) = 0;

  /// One transaction, until commit() or, undone, until the returned object goes. Nothing else of
  /// this store may be called by its thread in between.
  class Group {
   public:
    virtual ~Group() = default;
    /// Without its progress.
    virtual void task(const TaskRecord& task) = 0;
    virtual void task_progress(const std::string& task_id, const nlohmann::json& progress) = 0;
    virtual void run_progress(const std::string& run_id, const nlohmann::json& progress) = 0;
    virtual void stage(const std::string& task_id, const StageRecord& stage) = 0;
    virtual void attempt(const std::string& task_id, const AttemptRecord& attempt) = 0;
    virtual void disk(const std::string& task_id, const DiskRecord& disk) = 0;
    virtual void commit() = 0;
  };
  virtual std::unique_ptr<Group> update() = 0;
  virtual void save_result(const std::string& task_id, const nlohmann::json& result) = 0;

  /// Newest first.
  virtual std::vector<RunRecord> runs(std::size_t limit) = 0;
  virtual std::optional<RunRecord> run(const std::string& run_id) = 0;
  /// In the plan's order.
  virtual std::vector<TaskRecord> tasks(const std::string& run_id) = 0;
  virtual std::optional<TaskDetail> task(const std::string& task_id) = 0;
  /// Ids and names that begin so, newest first; for people who type.
  virtual std::vector<std::string> find_tasks(const std::string& text) = 0;

  /// False: there is no such task, or it has ended.
  virtual bool request_cancel(const std::string& task_id) = 0;
  virtual std::vector<std::string> cancel_requests(const std::string& run_id) = 0;
};

}  // namespace hyperhost
