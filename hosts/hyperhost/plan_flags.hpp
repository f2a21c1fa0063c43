// SPDX-License-Identifier: Apache-2.0
// Flags that stand for keys of a plan: what both programs offer for watching a run, and the pieces
// to make more of them. Each becomes a PlanFlag, so that a mistake is reported with the flag's
// name.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"

namespace hyperhost {

struct WatchFlags {
  std::optional<uint16_t> progress_port, metrics_port;
  std::string progress_api, metrics_api;      ///< HOST:PORT
  std::string progress_token, metrics_token;  ///< env:NAME or file:PATH
  std::string audit_log;
};
void add_watch_flags(CLI::App& app, WatchFlags& flags);
void add_plan_flags(const WatchFlags& flags, std::vector<PlanFlag>& out);

/// KEY gets the text, whatever characters it has.
PlanFlag text_flag(const std::string& flag, const std::string& key, const std::string& text);
/// KEY gets {env: NAME} or {file: PATH} for "env:NAME" or "file:PATH". Throws Error for any other
/// text, which it does not repeat: a secret on a command line is everybody's.
PlanFlag secret_flag(const std::string& flag, const std::string& key, const std::string& text);
bool is_secret_reference(const std::string& text);
/// A path from a command line counts from the working directory, wherever the plan lies.
std::string absolute_path(const std::string& path);

}  // namespace hyperhost
