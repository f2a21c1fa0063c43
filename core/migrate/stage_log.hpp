// SPDX-License-Identifier: Apache-2.0
// Turns what the disks of one VM report into stage and disk events: each stage begins with its
// first disk and ends once, with the time from that to its last byte. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/events/event.hpp"

namespace hyperhost {

class StageLog {
 public:
  StageLog(EventBus& events, std::shared_ptr<const TaskInfo> task)
      : events_(events), task_(std::move(task)) {}

  /// What is known of a stage before it begins.
  void announce(Stage stage, uint64_t bytes_total, std::string description);
  /// Begins the stage if nothing has begun it.
  void begin(Stage stage);
  /// Progress of one disk; begins the stage and the disk's part in it.
  void progress(Stage stage, const std::string& disk_id, uint64_t done, uint64_t total);
  /// The disk's part in the stage begins, and an earlier run has done so much of it.
  void adopted(Stage stage, const std::string& disk_id, uint64_t done, uint64_t total);
  /// The disk's part in every stage it began is over.
  void disk_finished(const std::string& disk_id, bool success);
  /// Ends a stage that began; `bytes` it moved.
  void end(Stage stage, bool success, uint64_t bytes);
  /// Ends what is still running, as failed.
  void abandon();

  /// From begin() to the last progress or end; zero if it never began.
  std::chrono::nanoseconds duration(Stage stage) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Disk {
    Clock::time_point begin;
    uint64_t done = 0, total = 0;
    bool finished = false;
  };
  struct Entry {
    uint64_t bytes_total = 0;
    std::string description;
    bool running = false, ended = false;
    Clock::time_point begin, last;
    std::map<std::string, Disk> disks;
  };
  void begin_locked(Stage stage);

  EventBus& events_;
  const std::shared_ptr<const TaskInfo> task_;
  mutable std::mutex mutex_;
  std::map<Stage, Entry> entries_;
};

}  // namespace hyperhost
