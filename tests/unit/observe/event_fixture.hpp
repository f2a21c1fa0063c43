// SPDX-License-Identifier: Apache-2.0
// Events at chosen times for the tests of observers, and a directory that goes away. One test each.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/events/event.hpp"

namespace hyperhost {

inline constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

/// Moves wall and steady time together, by hand.
class ManualClock {
 public:
  void advance(std::chrono::milliseconds by) { elapsed_ += by; }
  WallClock::time_point wall() const {
    return WallClock::time_point{std::chrono::seconds(1767323045)} + elapsed_;  // 2026-01-02
  }
  std::chrono::steady_clock::time_point steady() const {
    return std::chrono::steady_clock::time_point{std::chrono::hours(1)} + elapsed_;
  }

 private:
  std::chrono::milliseconds elapsed_{0};
};

inline std::shared_ptr<TaskInfo> make_task(const std::string& id) {
  auto task = std::make_shared<TaskInfo>();
  task->task_id = id;
  task->run_id = "run-1";
  task->vm_name = "web-" + id;
  task->provider = "local-ovf";
  task->provider_name = "shelf";
  task->converter = "parallel-disk";
  task->user = "ops";
  task->ip_address = "192.0.2.7";
  task->user_agent = "hyperhost/1.0.0";
  task->target_format = "qcow2";
  return task;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = testing::TempDir() + "observe-XXXXXX";
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace hyperhost
