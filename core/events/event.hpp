// SPDX-License-Identifier: Apache-2.0
// What a migration reports to its observers. The orchestrator publishes events on an EventBus;
// progress, metrics, audit, webhooks and the terminal each are an Observer that renders them.
// Events are plain values; on_event() is called on the publishing thread and must not block.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/clock.hpp"
#include "core/base/diagnostic.hpp"
#include "core/events/stage.hpp"

namespace hyperhost {

enum class Outcome { kSucceeded, kFailed, kCancelled, kSkipped };
/// "succeeded", "failed", "cancelled", "skipped".
const char* outcome_name(Outcome outcome);

/// Observers that a task may be kept from; a set of them is an or of these.
enum class Watch : uint32_t { kOther = 0, kProgress = 1, kMetrics = 2, kAudit = 4, kWebhooks = 8 };

/// Constant for the life of a task; shared by all its events.
struct TaskInfo {
  std::string task_id;
  std::string run_id;
  std::string vm_name;
  std::string provider;       ///< plugin id, e.g. "vsphere"
  std::string provider_name;  ///< its name in the plan, e.g. "lab"
  std::string converter;      ///< plugin id
  std::string user;
  std::string ip_address;
  std::string user_agent;  ///< "hyperhost/1.0.0"
  std::string target_format;
  uint32_t unwatched = 0;  ///< Watch values: these observers get no event of it
};

namespace event {
/// A run (one plan) begins; `tasks` lists everything it will do, before any of it starts.
struct RunStarted {
  std::string run_id, plan_name, user;
  std::vector<std::shared_ptr<const TaskInfo>> tasks;
  std::string host{};  ///< the machine that it runs on
};
struct RunFinished {
  std::string run_id;
  uint64_t succeeded = 0, failed = 0, cancelled = 0, skipped = 0;
  std::string plan_name{}, user{};
  std::chrono::nanoseconds duration{0};
};
/// How large a VM is, as soon as that is known: often before the task starts.
struct TaskMeasured {
  uint64_t guest_bytes = 0;  ///< sum of the disks' capacities
  uint64_t move_bytes = 0;   ///< what its source holds of them, where known; else the capacities
  std::vector<std::string> disk_ids;  ///< in the order of the description
};
/// A task that could not begin yet, or not try again, waits: published when the reason changes.
struct TaskWaiting {
  std::string reason;                          ///< "dependency", "window", "retry", "limit"
  std::string text;                            ///< for people: "for 'db', which it depends on"
  std::optional<WallClock::time_point> until;  ///< where the clock decides
  bool operator==(const TaskWaiting&) const = default;
};
struct TaskStarted {
  uint32_t disks = 0;
  uint64_t guest_bytes = 0;                                    ///< sum of the disks' capacities
  std::vector<Stage> stages{Stage::kExport, Stage::kConvert};  ///< what the task will go through
};
struct StageStarted {
  Stage stage;
  uint64_t bytes_total = 0;  ///< 0 = not known yet
  std::string description;   ///< e.g. "streaming into parallel-disk, no staging"
};
struct StageFinished {
  Stage stage;
  bool success = true;
  uint64_t bytes = 0;  ///< moved by this stage
  std::chrono::nanoseconds duration{0};
};
/// Also at the beginning of each further attempt: byte counts restart at 0.
struct DiskStarted {
  Stage stage;
  std::string disk_id;
  uint64_t bytes_total = 0;
  uint64_t bytes_adopted = 0;  ///< of them an earlier run moved so many
};
/// Cumulative. For kConvert and kVerify guest bytes; for kExport bytes read from the source;
/// for kUpload acknowledged bytes. Published at most every 100 ms a disk.
struct DiskProgress {
  Stage stage;
  std::string disk_id;
  uint64_t bytes_done = 0, bytes_total = 0;
};
struct DiskFinished {
  Stage stage;
  std::string disk_id;
  bool success = true;
  uint64_t bytes = 0;
  std::chrono::nanoseconds duration{0};
};
/// A warning or a note; the task continues.
struct Notice {
  Diagnostic diagnostic;
  std::string stage;
};
struct Retry {
  std::string stage, disk_id;
  uint32_t attempt = 0;  ///< the attempt that failed, from 1
  std::chrono::nanoseconds delay{0};
  Diagnostic diagnostic;
};
struct TaskFinished {
  Outcome outcome = Outcome::kSucceeded;
  Diagnostic error;  ///< when not kSucceeded
  std::chrono::nanoseconds duration{0};
  uint64_t bytes_exported = 0, bytes_converted = 0, bytes_uploaded = 0;
  std::string manifest_path;
  std::vector<std::string> files;
  bool already_done = false;  ///< by an earlier run: this one moved nothing
};
}  // namespace event

using EventBody =
    std::variant<event::RunStarted, event::TaskMeasured, event::TaskWaiting, event::TaskStarted,
                 event::StageStarted, event::StageFinished, event::DiskStarted, event::DiskProgress,
                 event::DiskFinished, event::Notice, event::Retry, event::TaskFinished,
                 event::RunFinished>;

/// One callable out of a lambda an event, for std::visit of an EventBody.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

struct Event {
  WallClock::time_point time;
  std::shared_ptr<const TaskInfo> task;  ///< null for RunStarted, RunFinished and run-wide notices
  EventBody body;
};

class Observer {
 public:
  virtual ~Observer() = default;
  /// Any thread, several at once. Must neither block on I/O of unknown duration nor throw;
  /// what an observer cannot do it counts and reports itself.
  virtual void on_event(const Event& event) noexcept = 0;
};

/// Hands each event to every observer, in the order of subscription. Does not own them: they
/// must outlive the bus or unsubscribe. publish() may be called from any thread.
class EventBus {
 public:
  void subscribe(Observer* observer, Watch as = Watch::kOther);
  void unsubscribe(Observer* observer);
  void publish(std::shared_ptr<const TaskInfo> task, EventBody body);

 private:
  std::mutex mutex_;
  std::vector<std::pair<Observer*, Watch>> observers_;
};

}  // namespace hyperhost
