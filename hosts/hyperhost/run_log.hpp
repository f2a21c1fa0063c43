// SPDX-License-Identifier: Apache-2.0
// A run as dated lines of the log: what begins, what ends, what is warned of, and every ten
// seconds how far each disk is. Below a live view what that shows is left to --log-level debug.
// Any thread.
#pragma once

#include <spdlog/common.h>

#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "core/events/event.hpp"

namespace hyperhost {

class RunLog final : public Observer {
 public:
  explicit RunLog(bool below_view)
      : detail_(below_view ? spdlog::level::debug : spdlog::level::info) {}
  void on_event(const Event& event) noexcept override;

 private:
  bool begun(const std::string& task_id);

  const spdlog::level::level_enum detail_;
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> last_;  ///< by task, disk, stage
  std::set<std::string> begun_;                                        ///< tasks
};

}  // namespace hyperhost
