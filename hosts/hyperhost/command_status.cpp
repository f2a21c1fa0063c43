// SPDX-License-Identifier: Apache-2.0
// hyperhost status, history, result, cancel: what the state database knows of runs, during
// them and after they were killed.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/json_text.hpp"
#include "core/base/timestamp.hpp"
#include "core/events/event.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "hosts/hyperhost/command_line.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/run_status.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

WallClock::time_point time_of(Millis at) {
  return WallClock::time_point(std::chrono::milliseconds(at));
}

std::string time_text(Millis at) {
  return at == 0 ? "-" : format_timestamp(time_of(at), 0);
}

json time_json(Millis at) {
  return at == 0 ? json() : json(format_timestamp(time_of(at)));
}

/// end: of the run, for what has no end of its own.
std::string span_text(Millis from, Millis to, Millis end) {
  if (from == 0) return "-";
  if (to == 0) to = end;
  if (to == 0)
    to = std::chrono::duration_cast<std::chrono::milliseconds>(WallClock::now().time_since_epoch())
             .count();
  return human_duration(std::chrono::milliseconds(std::max<Millis>(0, to - from)));
}

json task_json(const TaskRecord& task, const std::string& status) {
  json out = {{"task_id", task.task_id},
              {"run_id", task.run_id},
              {"vm_name", task.vm_name},
              {"provider", task.provider},
              {"status", status},
              {"start_time", time_json(task.started)},
              {"end_time", time_json(task.ended)},
              {"attempts", task.attempts},
              {"disks", task.disks},
              {"guest_bytes", task.guest_bytes}};
  if (!stage_of(task).empty()) out["stage"] = stage_of(task);
  if (percent(task) >= 0) out["percentage"] = percent(task);
  if (status == "running" || status == "pending")
    for (const char* key : {"eta", "rate", "waiting"})
      if (shown(task).contains(key)) out[key] = shown(task)[key];
  if (!task.error.empty()) out["error"] = task.error;
  return out;
}

/// Of a stage that has not ended its disks know how far they are.
uint64_t bytes_of(const TaskDetail& detail, const StageRecord& stage) {
  if (stage.ended != 0) return stage.bytes;
  uint64_t sum = 0;
  for (const DiskRecord& disk : detail.disk_progress)
    if (disk.stage == stage.stage) sum += disk.done;
  return sum;
}

/// Nothing of a task runs that does not run itself.
const std::string& disk_status(const DiskRecord& disk, const std::string& task_status) {
  return disk.status == "running" ? task_status : disk.status;
}

json detail_json(const TaskDetail& detail, const std::string& status) {
  json out = task_json(detail.task, status);
  json stages = json::array(), attempts = json::array(), disks = json::array();
  for (const StageRecord& stage : detail.stages)
    stages.push_back({{"stage", stage.stage},
                      {"start_time", time_json(stage.started)},
                      {"end_time", time_json(stage.ended)},
                      {"bytes", bytes_of(detail, stage)},
                      {"bytes_total", stage.bytes_total},
                      {"success", stage.success}});
  for (const AttemptRecord& attempt : detail.attempts)
    attempts.push_back({{"attempt", attempt.attempt},
                        {"end_time", time_json(attempt.ended)},
                        {"code", attempt.code},
                        {"error", attempt.error},
                        {"delay_seconds", static_cast<double>(attempt.delay_ms) / 1000}});
  for (const DiskRecord& disk : detail.disk_progress)
    disks.push_back({{"disk", disk.disk_id},
                     {"stage", disk.stage},
                     {"status", disk_status(disk, status)},
                     {"bytes_done", disk.done},
                     {"bytes_total", disk.total}});
  out["stages"] = stages;
  out["failed_attempts"] = attempts;
  out["progress"] = disks;
  return out;
}

/// The last lines of a text, indented.
std::string last_lines(const std::string& text) {
  constexpr std::size_t kLines = 20;
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
  std::string out;
  for (std::size_t i = lines.size() > kLines ? lines.size() - kLines : 0; i < lines.size(); ++i)
    out += "    " + lines[i] + "\n";
  return out;
}

struct StateOptions {
  std::string task;
  std::size_t limit = 20;
  bool all = false;
};

class StateCommands {
 public:
  explicit StateCommands(Context& context)
      : context_(context), store_(StateStore::open(default_state_dir())) {}

  int status(const StateOptions& options) {
    if (!options.task.empty()) return one_task(found(options.task));
    std::vector<RunRecord> runs = store_->runs(1);  // the newest, and all that are running
    for (const RunRecord& run : store_->runs(kLookedAt))
      if (run.run_id != runs.front().run_id && life_of(run).state == "running") runs.push_back(run);
    json list = json::array();
    if (runs.empty() && !context_.json()) std::cout << "there was no run yet\n";
    for (const RunRecord& run : runs) {
      if (context_.json())
        list.push_back(run_json(run, true));
      else
        print_run(run, options.all);
    }
    if (context_.json()) context_.print_json({{"runs", list}});
    return kExitOk;
  }

  int history(const StateOptions& options) {
    const auto runs = store_->runs(options.limit);
    if (context_.json()) {
      json list = json::array();
      for (const RunRecord& run : runs) list.push_back(run_json(run, false));
      context_.print_json({{"runs", list}});
      return kExitOk;
    }
    if (runs.empty()) {
      std::cout << "there was no run yet\n";
      return kExitOk;
    }
    Table table({"Run", "Plan", "Started", ">Took", "State", ">VMs", ">Succeeded", ">Failed",
                 ">Skipped", ">Open"});
    for (const RunRecord& run : runs) {
      const RunLife life = life_of(run);
      const auto counts = counted(run, life);
      const auto count = [&](std::initializer_list<const char*> names) {
        std::size_t sum = 0;
        for (const char* name : names)
          if (const auto at = counts.find(name); at != counts.end()) sum += at->second;
        return std::to_string(sum);
      };
      std::size_t all = 0;
      for (const auto& [name, number] : counts) all += number;
      table.row({run.run_id, run.plan, time_text(run.started),
                 span_text(run.started, run.ended, life.end), life.state, std::to_string(all),
                 count({"succeeded"}), count({"failed"}), count({"skipped"}),
                 count({"pending", "running", "killed", "cancelled"})});
    }
    std::cout << table.text();
    return kExitOk;
  }

  int result(const StateOptions& options) {
    const TaskDetail detail = found(options.task);
    if (detail.result.is_null()) {
      const std::string status = status_of(detail.task);
      throw Error(Code::kNotFound,
                  "task " + detail.task.task_id + " has no result: it is " + status, "",
                  status == "killed" ? "run its plan again, which continues it"
                                     : "hyperhost status shows how far it is");
    }
    if (context_.json()) {
      json out = detail.result;
      const json more = detail_json(detail, status_of(detail.task));
      out["stages"] = more["stages"];
      out["failed_attempts"] = more["failed_attempts"];
      context_.print_json(out);
      return kExitOk;
    }
    print_result(detail);
    return kExitOk;
  }

  int cancel(const StateOptions& options) {
    const TaskDetail detail = found(options.task);
    const std::string status = status_of(detail.task);
    if ((status != "pending" && status != "running") ||
        !store_->request_cancel(detail.task.task_id))
      throw Error(Code::kNotFound,
                  "task " + detail.task.task_id + " is " + status + ": there is nothing to cancel");
    if (context_.json())
      context_.print_json({{"task_id", detail.task.task_id}, {"cancelling", true}});
    else
      std::cout << detail.task.task_id << ": will be stopped; a rerun of the plan resumes it\n";
    return kExitOk;
  }

 private:
  static constexpr std::size_t kLookedAt = 50;

  std::string status_of(const TaskRecord& task) {
    const auto run = store_->run(task.run_id);
    return task_status(task, run ? life_of(*run) : RunLife{"ended", task.ended});
  }

  /// By its id, the beginning of it, or the VM's name: the newest one then.
  TaskDetail found(const std::string& text) {
    if (auto exact = store_->task(text)) return *exact;
    const auto ids = store_->find_tasks(text);
    if (ids.empty())
      throw Error(Code::kNotFound, "there is no task '" + text + "'", "",
                  "hyperhost status --all shows the last run's, history the runs");
    return *store_->task(ids.front());
  }

  std::map<std::string, std::size_t> counted(const RunRecord& run, const RunLife& life) {
    std::map<std::string, std::size_t> counts;
    for (const TaskRecord& task : store_->tasks(run.run_id)) ++counts[task_status(task, life)];
    return counts;
  }

  json run_json(const RunRecord& run, bool with_tasks) {
    const RunLife life = life_of(run);
    json tasks = json::array(), counts = json::object();
    for (const TaskRecord& task : store_->tasks(run.run_id)) {
      const std::string status = task_status(task, life);
      counts[status] = counts.value(status, 0) + 1;
      if (with_tasks) tasks.push_back(task_json(task, status));
    }
    json out = {{"run_id", run.run_id},
                {"plan", run.plan},
                {"plan_file", run.plan_file},
                {"user", run.user},
                {"state", life.state},
                {"start_time", time_json(run.started)},
                {"end_time", time_json(life.end)},
                {"counts", counts}};
    if (life.state == "running" && run.progress.is_object()) out["progress"] = run.progress;
    if (with_tasks) out["tasks"] = tasks;
    return out;
  }

  void print_run(const RunRecord& run, bool all) {
    const RunLife life = life_of(run);
    const auto tasks = store_->tasks(run.run_id);
    std::map<std::string, std::size_t> counts;
    Table table({"VM", "Task", "State", "Stage", ">Done", ">Tries", ">Took", "Remark"});
    std::size_t shown = 0;
    for (const TaskRecord& task : tasks) {
      const std::string status = task_status(task, life);
      ++counts[status];
      const bool usual = status == "pending" || status == "succeeded";
      if (!all && usual && tasks.size() > kAllShown) continue;
      table.row({task.vm_name, task.task_id, status, stage_of(task), percent_text(task),
                 std::to_string(task.attempts), span_text(task.started, task.ended, life.end),
                 remark(task, status)});
      ++shown;
    }
    std::cout << run.plan << ", run " << run.run_id << ", " << life.state
              << (life.state == "running" ? " since " : " at ")
              << time_text(life.end != 0 ? life.end : run.started) << ":";
    const char* between = " ";
    for (const auto& [name, number] : counts) {
      std::cout << between << number << " " << name;
      between = ", ";
    }
    std::cout << "\n" << (life.state == "running" ? figures(run.progress) : "");
    if (shown > 0) std::cout << table.text();
    if (shown < tasks.size()) std::cout << "(--all shows all " << tasks.size() << ")\n";
    if (life.state == "killed")
      std::cout << "Its process is gone: hyperhost run " << run.plan_file
                << " continues where it ended.\n";
  }

  int one_task(const TaskDetail& detail) {
    const std::string status = status_of(detail.task);
    const auto run = store_->run(detail.task.run_id);
    const Millis end = run ? life_of(*run).end : detail.task.ended;
    if (context_.json()) {
      context_.print_json(detail_json(detail, status));
      return kExitOk;
    }
    std::cout << detail.task.vm_name << "\n  task        " << detail.task.task_id
              << "\n  run         " << detail.task.run_id << "\n  state       " << status
              << "\n  started     " << time_text(detail.task.started) << "\n  took        "
              << span_text(detail.task.started, detail.task.ended, end) << "\n  disks       "
              << detail.task.disks << ", " << human_bytes(detail.task.guest_bytes) << "\n";
    if (percent(detail.task) >= 0)
      std::cout << "  done        " << percent_text(detail.task) << ", " << stage_of(detail.task)
                << "\n";
    if (const std::string why = remark(detail.task, status); !why.empty())
      std::cout << (detail.task.error.empty() ? "  remark      " : "  error       ") << why << "\n";
    if (!detail.stages.empty()) {
      Table table({"Stage", "Began", ">Took", ">Bytes", "State"});
      for (const StageRecord& stage : detail.stages)
        table.row({stage.stage, time_text(stage.started),
                   span_text(stage.started, stage.ended, end), human_bytes(bytes_of(detail, stage)),
                   stage.ended == 0 ? status : (stage.success ? "done" : "failed")});
      std::cout << "\n" << table.text();
    }
    if (!detail.disk_progress.empty()) {
      Table table({"Disk", "Stage", "State", ">Done", ">Of"});
      for (const DiskRecord& disk : detail.disk_progress)
        table.row({disk.disk_id, disk.stage, disk_status(disk, status), human_bytes(disk.done),
                   human_bytes(disk.total)});
      std::cout << "\n" << table.text();
    }
    for (const AttemptRecord& attempt : detail.attempts)
      std::cout << "\nattempt " << attempt.attempt << " failed at " << time_text(attempt.ended)
                << ": " << attempt.error;
    if (!detail.attempts.empty()) std::cout << "\n";
    return kExitOk;
  }

  static void print_guest(const json& guest) {
    if (!guest.is_object()) return;
    if (guest.contains("plugins")) {
      for (const json& one : guest["plugins"]) print_guest(one);
      return;
    }
    std::cout << "\nGuest: prepared by " << guest.value("plugin", "") << " "
              << guest.value("version", "") << "\n";
    for (const json& one : guest.value("actions", json::array())) {
      std::cout << "  " << one.value("rule", "") << ": " << one.value("what", "");
      if (one.contains("path")) std::cout << " (" << one.value("path", "") << ")";
      std::cout << "\n";
    }
    for (const json& one : guest.value("findings", json::array()))
      std::cout << "  " << text_of(one, "severity") << ": " << text_of(one, "rule") << ": "
                << text_of(one, "summary") << "\n";
  }

  static void print_boot(const json& boot) {
    if (!boot.is_object()) return;
    std::cout << "\nBoot check: " << (boot.value("booted", false) ? "boots" : "does not boot")
              << ", '" << boot.value("grade", "") << "' reached, '" << boot.value("require", "")
              << "' required"
              << (boot.contains("failed") ? ", " + boot.value("failed", "") : std::string())
              << "\n";
    for (const json& one : boot.value("reached", json::array()))
      std::cout << "  " << human_duration(std::chrono::milliseconds(one.value("ms", int64_t{0})))
                << "  " << one.value("grade", "") << ": " << one.value("evidence", "") << "\n";
    if (boot.contains("screen")) std::cout << "  its screen: " << boot.value("screen", "") << "\n";
    const std::string tail = boot.value("console_tail", "");
    if (!boot.value("booted", false) && !tail.empty())
      std::cout << "  the end of its console:\n" << last_lines(tail);
  }

  static void print_target(const json& target) {
    if (!target.is_object()) return;
    std::cout << "\nTarget: " << target.value("plugin", "") << ", '" << target.value("name", "")
              << "' at " << target.value("location", "")
              << (target.value("started", false) ? ", started" : "") << "\n";
    for (const json& file : target.value("files", json::array()))
      std::cout << "  " << file.get<std::string>() << "\n";
  }

  static void print_result(const TaskDetail& detail) {
    const json& result = detail.result;
    const auto text = [](const json& object, const char* key) {
      return object.value(key, std::string());
    };
    std::cout << text(result, "vm_name") << ": " << text(result, "outcome")
              << (result.value("already_done", false) ? ", done by an earlier run" : "") << "\n";
    if (!text(result, "error").empty())
      std::cout << "  error       " << text(result, "error") << "\n";
    std::cout << "  task        " << detail.task.task_id << "\n  attempts    "
              << result.value("attempts", 0) << "\n  started     " << text(result, "start_time")
              << "\n  ended       " << text(result, "end_time") << "\n";
    if (!text(result, "manifest_path").empty())
      std::cout << "  manifest    " << text(result, "manifest_path") << "\n";
    Table table({"Stage", ">Took", ">Bytes"});
    const std::tuple<const char*, const char*, const char*> stages[] = {
        {"export", "export_seconds", "export_size"},
        {"convert", "conversion_seconds", "conversion_size"},
        {"verify", "verify_seconds", "total_size"},
        {"upload", "upload_seconds", "upload_size"}};
    std::size_t took_place = 0;
    for (const auto& [name, took, bytes] : stages) {
      const auto time = static_cast<int64_t>(result.value(took, 0.0) * 1e9);
      if (time == 0) continue;
      table.row({name, human_duration(std::chrono::nanoseconds(time)),
                 human_bytes(result.value(bytes, uint64_t{0}))});
      ++took_place;
    }
    if (took_place > 0) std::cout << "\n" << table.text();
    print_guest(result.value("guest", json()));
    print_boot(result.value("boot", json()));
    print_target(result.value("target", json()));
    for (const json& disk : result.value("disks", json::array())) {
      std::cout << "\n"
                << text(disk, "path") << "\n  " << text(disk, "format") << ", "
                << human_bytes(disk.value("virtual_size", uint64_t{0})) << " in "
                << human_bytes(disk.value("bytes", uint64_t{0})) << "\n";
      if (!text(disk, "content_digest").empty())
        std::cout << "  " << text(disk, "content_digest") << "\n";
      for (const json& note : disk.value("notes", json::array()))
        std::cout << "  note: " << note.get<std::string>() << "\n";
    }
    for (const json& warning : result.value("warnings", json::array()))
      std::cout << "warning: " << text(warning, "summary") << "\n";
  }

  static constexpr std::size_t kAllShown = 40;
  Context& context_;
  const std::shared_ptr<StateStore> store_;
};

}  // namespace

void add_status_commands(CLI::App& app, Context& context, int& status) {
  const auto add = [&](const char* name, const char* text,
                       int (StateCommands::*call)(const StateOptions&)) {
    auto options = std::make_shared<StateOptions>();
    CLI::App* command = app.add_subcommand(name, text);
    command->callback([options, call, &context, &status] {
      StateCommands commands(context);
      status = (commands.*call)(*options);
    });
    return std::make_pair(command, options);
  };
  const char* task_help = "The task's id, the beginning of it, or the VM's name (the newest then)";
  {
    const auto [command, options] =
        add("status", "What runs, or what the last run did", &StateCommands::status);
    command->add_option("TASK", options->task, task_help);
    command->add_flag("--all", options->all,
                      "Every VM of a large run, also those that wait or succeeded");
    command->footer("Examples:\n  hyperhost status\n  hyperhost status web-01");
  }
  {
    const auto [command, options] =
        add("history", "The runs of this host, newest first", &StateCommands::history);
    command->add_option("--limit", options->limit, "How many")
        ->check(in_range(1, 1'000'000))
        ->capture_default_str();
    command->footer(
        "Open are the VMs that did not come to an end: waiting, running, killed or cancelled.\n\n"
        "Example:\n  hyperhost history --limit 5");
  }
  {
    const auto [command, options] =
        add("result", "What became of a VM: files, times, digests", &StateCommands::result);
    command->add_option("TASK", options->task, task_help)->required();
    command->footer("Example:\n  hyperhost result web-01");
  }
  {
    const auto [command, options] = add("cancel",
                                        "Stop one VM of a running run; the "
                                        "others continue",
                                        &StateCommands::cancel);
    command->add_option("TASK", options->task, task_help)->required();
    command->footer("Example:\n  hyperhost cancel web-01");
  }
}

}  // namespace hyperhost
