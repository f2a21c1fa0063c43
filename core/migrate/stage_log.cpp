// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/stage_log.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace hyperhost {

void StageLog::announce(Stage stage, uint64_t bytes_total, std::string description) {
  const std::lock_guard lock(mutex_);
  entries_[stage].bytes_total = bytes_total;
  entries_[stage].description = std::move(description);
}

void StageLog::begin_locked(Stage stage) {
  Entry& at = entries_[stage];
  if (at.running || at.ended) return;
  at.running = true;
  at.begin = at.last = Clock::now();
  events_.publish(task_, event::StageStarted{stage, at.bytes_total, at.description});
}

void StageLog::begin(Stage stage) {
  const std::lock_guard lock(mutex_);
  begin_locked(stage);
}

void StageLog::progress(Stage stage, const std::string& disk_id, uint64_t done, uint64_t total) {
  const std::lock_guard lock(mutex_);
  begin_locked(stage);
  Entry& at = entries_[stage];
  at.last = Clock::now();
  auto [found, first] = at.disks.try_emplace(disk_id);
  Disk& disk = found->second;
  if (first) {
    disk.begin = at.last;
    events_.publish(task_, event::DiskStarted{stage, disk_id, total});
  }
  // A reader of many threads calls per block: what watchers see is bounded here.
  const bool last = total != 0 && done >= total && disk.done < total;
  if (!first && !last && (done <= disk.done || done - disk.done < total / 1000)) return;
  disk.done = std::max(disk.done, done);
  disk.total = std::max(total, disk.total);
  events_.publish(task_, event::DiskProgress{stage, disk_id, disk.done, disk.total});
}

void StageLog::adopted(Stage stage, const std::string& disk_id, uint64_t done, uint64_t total) {
  const std::lock_guard lock(mutex_);
  begin_locked(stage);
  Entry& at = entries_[stage];
  at.last = Clock::now();
  at.disks[disk_id] = {at.last, done, total, false};
  events_.publish(task_, event::DiskStarted{stage, disk_id, total, done});
}

void StageLog::disk_finished(const std::string& disk_id, bool success) {
  const std::lock_guard lock(mutex_);
  for (auto& [stage, at] : entries_) {
    const auto found = at.disks.find(disk_id);
    if (found == at.disks.end() || found->second.finished) continue;
    found->second.finished = true;
    events_.publish(task_, event::DiskFinished{stage, disk_id, success, found->second.done,
                                               at.last - found->second.begin});
  }
}

void StageLog::end(Stage stage, bool success, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Entry& at = entries_[stage];
  if (!at.running) return;
  at.running = false;
  at.ended = true;
  if (at.disks.empty()) at.last = Clock::now();
  events_.publish(task_, event::StageFinished{stage, success, bytes, at.last - at.begin});
}

void StageLog::abandon() {
  std::vector<std::pair<Stage, uint64_t>> running;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [stage, at] : entries_) {
      uint64_t bytes = 0;
      for (const auto& [id, disk] : at.disks) bytes += disk.done;
      if (at.running) running.emplace_back(stage, bytes);
    }
  }
  for (auto it = running.rbegin(); it != running.rend(); ++it) end(it->first, false, it->second);
}

std::chrono::nanoseconds StageLog::duration(Stage stage) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(stage);
  return found == entries_.end() ? std::chrono::nanoseconds(0)
                                 : found->second.last - found->second.begin;
}

}  // namespace hyperhost
