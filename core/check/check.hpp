// SPDX-License-Identifier: Apache-2.0
// The conformance suite for plugins: `hyperhost plugins check`. Each case runs in a child process
// with a time limit, so that a plugin that crashes, hangs or exits is a finding and not the end.
// check_plugin() runs in the parent and belongs to one thread; run_case() is the child's main.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hyperhost::check {

struct Settings {
  std::string file;                  ///< the plugin, absolute
  std::string options_file;          ///< its options (JSON or YAML, as in a plan); empty = made up
  std::vector<std::string> samples;  ///< disk images that its image reader must read
  std::vector<std::string> plugin_dirs;  ///< where other plugins are (to read a converter's result)
  std::string only;                      ///< the one case to run; empty = all
  int seconds = 0;                       ///< of each case at most; 0 = as each case says
  bool isolated = false;                 ///< through a process of its own, as hosts may run it
  bool strict = false;                   ///< what is skipped counts as failed
  bool deep = false;                     ///< whole streams and large disks: minutes
  std::string step;                      ///< of a case that runs in several processes
};

struct CaseResult {
  std::string name, what;
  std::string result;                 ///< "passed", "failed", "skipped"
  std::vector<std::string> findings;  ///< why it failed or was skipped
  std::vector<std::string> notes;
  std::vector<std::string> log;  ///< the last lines the plugin wrote, of a case that failed
  uint64_t milliseconds = 0;
};

struct Report {
  std::string file, id, version;
  std::vector<CaseResult> cases;
  bool strict = false;  ///< as in Settings
  std::size_t count(const std::string& result) const;
  bool ok() const { return count("failed") == 0 && !(strict && count("skipped") != 0); }
};

/// Runs the suite. Throws Error where there is nothing to check: no such file, no such case.
Report check_plugin(const Settings& settings);

/// One case, in this process: lines of JSON on standard output. Returns the exit status.
int run_case(const Settings& settings, const std::string& name, const std::string& scratch);

nlohmann::json to_json(const Report& report);

}  // namespace hyperhost::check
