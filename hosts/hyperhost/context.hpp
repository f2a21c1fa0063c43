// SPDX-License-Identifier: Apache-2.0
// What every command of hyperhost shares: global options, exit statuses, messages, signals.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/cancel.hpp"
#include "core/base/diagnostic_json.hpp"
#include "core/plan/host_config.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost {

/// Exit statuses: part of the interface, listed in --help.
enum Exit : int {
  kExitOk = 0,
  kExitFailed = 1,       ///< a VM or an operation failed
  kExitUsage = 2,        ///< wrong command line, or a plan with errors
  kExitPreflight = 3,    ///< the plan is well-formed and cannot run: nothing was touched
  kExitInterrupted = 4,  ///< stopped by SIGINT or SIGTERM
  kExitDiffers = 5,      ///< compare, verify: read well and not equal
  kExitInternal = 70,
};

class Console;
class LogSink;

enum class ProgressMode { kLive, kPlain, kJson };

class Context {
 public:
  std::string output = "text";  ///< text | json
  std::string log_level = "info";
  std::string progress = "auto";  ///< of a run, on standard error: auto | live | plain | json
  std::vector<std::string> plugin_dirs;
  std::string isolation;  ///< auto | none | process; "" = as the host's configuration says

  /// Puts a message into the words of a program that has no plan; empty: as it is.
  std::function<void(Diagnostic&)> reword;

  bool json() const { return output == "json"; }
  /// auto: live on a terminal, else plain.
  ProgressMode progress_mode() const;
  /// Sets the log up (standard error); call once the options are parsed.
  void start_log();
  /// The log goes through `console` from now on; null: to standard error itself.
  void redirect_log(Console* console) const;
  /// What /etc/hyperhost/hyperhost.yaml, or the file HYPERHOST_CONFIG names, says about this host.
  /// Throws Error where it has mistakes.
  const HostConfig& host_config();
  /// Plugins of --plugin-dir, then `plan_dirs`, HYPERHOST_PLUGIN_PATH, the host's plugin_dirs, the
  /// built-in directory.
  PluginRegistry& registry(const std::vector<std::string>& plan_dirs = {});
  /// Cancelled by SIGINT and SIGTERM; a further signal ends the process at once.
  const std::shared_ptr<CancelSource>& cancel();
  /// From now on the first SIGTERM calls `drain` instead; the next signal cancels. Empty: as
  /// before.
  void on_drain(std::function<void()> drain);

  /// Prints diagnostics on standard error, each a line; with --progress json a JSON object.
  void print(const std::vector<Diagnostic>& diagnostics) const;
  /// The same for a sentence.
  void say(const std::string& sentence) const;
  void print_json(const nlohmann::json& value) const;
  /// Prints an error as above and returns the exit status that fits it.
  int fail(const Error& error) const;

 private:
  std::optional<HostConfig> host_config_;
  std::shared_ptr<LogSink> log_;
  std::unique_ptr<PluginRegistry> registry_;
  std::shared_ptr<CancelSource> cancel_;
  std::mutex drain_mutex_;
  std::function<void()> drain_;
  std::jthread signal_reader_;
};

/// --progress, for the commands that run something.
void add_progress_option(CLI::App& app, Context& context);

// Each adds its subcommands. The callbacks leave their exit status in `status`.
void add_run_commands(CLI::App& app, Context& context, int& status);
void add_cleanup_command(CLI::App& app, Context& context, int& status);
void add_status_commands(CLI::App& app, Context& context, int& status);
void add_inventory_commands(CLI::App& app, Context& context, int& status);
void add_plugin_commands(CLI::App& app, Context& context, int& status);
void add_disk_commands(CLI::App& app, Context& context, int& status);
void add_serve_disk_command(CLI::App& app, Context& context, int& status);
void add_inspect_command(CLI::App& app, Context& context, int& status);
void add_schema_commands(CLI::App& app, Context& context, int& status);
void add_audit_commands(CLI::App& app, Context& context, int& status);

}  // namespace hyperhost
