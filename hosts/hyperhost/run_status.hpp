// SPDX-License-Identifier: Apache-2.0
// What the records of a run say about it now: of one that goes on, that ended, or whose process was
// killed. Every figure is one that the run itself has written. Free functions; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/state/run_state.hpp"

namespace hyperhost {

/// What became of a run, and when: 0 while it goes on.
struct RunLife {
  std::string state;  ///< running, ended, killed (its process is gone), unseen (another machine's)
  Millis end = 0;
};
RunLife life_of(const RunRecord& run);

/// The task as the API showed it last; an empty object before.
const nlohmann::json& shown(const TaskRecord& task);
/// What the end of the run's process means for a task that has none of its own.
std::string task_status(const TaskRecord& task, const RunLife& run);
std::string stage_of(const TaskRecord& task);
/// -1 where nothing is known.
double percent(const TaskRecord& task);
std::string percent_text(const TaskRecord& task);
/// Why a task is not further than it is.
std::string remark(const TaskRecord& task, const std::string& status);
/// A run's share, rate, time left and limits in a line or more, as the live view has them.
std::string figures(const nlohmann::json& run);

}  // namespace hyperhost
