// SPDX-License-Identifier: Apache-2.0
// A run as dated lines of the log: what begins, what ends, what is warned of, and every ten
// seconds how far each disk is. Any thread.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "core/observe/event.hpp"

namespace hyperhost {

class RunLog final : public Observer {
 public:
  void on_event(const Event& event) noexcept override;

 private:
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> last_;  ///< by task, disk, stage
};

}  // namespace hyperhost
