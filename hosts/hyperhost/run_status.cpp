// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/run_status.hpp"

#include <algorithm>

#include "core/os/process_identity.hpp"
#include "hosts/hyperhost/run_view.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {

using nlohmann::json;

const json& shown(const TaskRecord& task) {
  static const json none = json::object();
  return task.progress.is_object() ? task.progress : none;
}

RunLife life_of(const RunRecord& run) {
  if (run.ended != 0) return {"ended", run.ended};
  switch (process_state(run.owner)) {
    case ProcessState::kAlive:
      return {"running", 0};
    case ProcessState::kUnseen:
      return {"unseen", run.seen};
    case ProcessState::kGone:
      break;
  }
  return {"killed", std::max(run.started, run.seen)};
}

std::string task_status(const TaskRecord& task, const RunLife& run) {
  const bool open = task.status == "pending" || task.status == "running";
  if (open && run.state == "killed") return "killed";
  if (open && run.state == "ended") return "cancelled";
  // What every other display says of it: a VM that waits for its next attempt does not run.
  if (open && shown(task).value("status", "") == "pending") return "pending";
  return task.status;
}

std::string stage_of(const TaskRecord& task) {
  return shown(task).value("current_stage", task.stage);
}

double percent(const TaskRecord& task) {
  return shown(task).value("percentage", -1.0);
}

std::string percent_text(const TaskRecord& task) {
  const double part = percent(task);
  return part < 0 ? "-" : std::to_string(static_cast<int>(part)) + " %";
}

std::string remark(const TaskRecord& task, const std::string& status) {
  if (!task.error.empty() || status != "pending") return task.error;
  const json waiting = shown(task).value("waiting", json::object());
  return waiting.empty() ? "" : "waits: " + waiting.value("text", "");
}

std::string figures(const json& run) {
  if (!run.is_object()) return {};
  const auto number = [&](const char* key) {
    const auto found = run.find(key);
    return found != run.end() && found->is_number() ? found->get<double>() : -1.0;
  };
  std::string out;
  const std::string size = human_bytes(static_cast<uint64_t>(std::max(0.0, number("move_bytes"))));
  if (number("percentage") >= 0)
    out = std::to_string(static_cast<int>(number("percentage"))) + " % of " + size;
  else
    out = "of at least " + size;
  if (number("rate") > 0) out += ", " + human_bytes(static_cast<uint64_t>(number("rate"))) + "/s";
  if (number("eta") >= 0)
    out += ", " + time_left({number("eta_low"), number("eta"), number("eta_high")});
  for (const json& limit : run.value("limits", json::array()))
    out += "\n  slowed down by " + limit.get<std::string>();
  return "  " + out + "\n";
}

}  // namespace hyperhost
