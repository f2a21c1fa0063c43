// SPDX-License-Identifier: Apache-2.0
// hyperhost plugins check: the conformance suite for plugins, as a command.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/redactor.hpp"
#include "core/check/check.hpp"
#include "hosts/hyperhost/command_plugins.hpp"

namespace hyperhost {
namespace {

struct CheckOptions {
  std::vector<std::string> plugins;
  std::string only, options_file, in_child, scratch, step;
  std::vector<std::string> samples;
  int seconds = 0;
  bool isolated = false, strict = false, deep = false;
};

/// A file, or the id of a plugin that is found.
std::string file_of(Context& context, const std::string& plugin) {
  if (plugin.find('/') != std::string::npos || std::filesystem::exists(plugin))
    return std::filesystem::absolute(plugin).lexically_normal().string();
  for (const PluginFile& file : context.registry().files())
    if (file.id == plugin) return std::filesystem::absolute(file.path).lexically_normal().string();
  throw Error(Code::kNotFound, "there is no plugin '" + plugin + "'", "",
              "name its file, or an id that `hyperhost plugins list` shows");
}

void print(const check::Report& report) {
  std::cout << (report.id.empty() ? report.file
                                  : report.id + " " + report.version + " (" + report.file + ")")
            << "\n";
  std::size_t width = 0;
  for (const check::CaseResult& one : report.cases) width = std::max(width, one.name.size());
  uint64_t milliseconds = 0;
  for (const check::CaseResult& one : report.cases) {
    milliseconds += one.milliseconds;
    std::cout << "  "
              << (one.result == "passed"   ? "ok  "
                  : one.result == "failed" ? "FAIL"
                                           : "skip")
              << "  " << std::left << std::setw(static_cast<int>(width)) << one.name << "  "
              << one.what << "\n";
    const std::string indent(width + 10, ' ');
    for (const std::string& finding : one.findings)
      std::cout << indent << Redactor::global().redact(finding) << "\n";
    for (const std::string& note : one.notes)
      std::cout << indent << "note: " << Redactor::global().redact(note) << "\n";
    for (const std::string& line : one.log)
      std::cout << indent << "| " << Redactor::global().redact(line) << "\n";
  }
  std::cout << report.count("passed") << " passed, " << report.count("failed") << " failed, "
            << report.count("skipped") << " skipped in " << std::fixed << std::setprecision(1)
            << static_cast<double>(milliseconds) / 1000.0 << " s\n";
}

int check_plugins(Context& context, const CheckOptions& options) {
  nlohmann::json reports = nlohmann::json::array();
  bool ok = true;
  const auto absolute = [](const std::string& path) {
    return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
  };
  for (const std::string& plugin : options.plugins) {
    check::Settings settings;
    settings.file = file_of(context, plugin);
    settings.only = options.only;
    settings.seconds = options.seconds;
    settings.isolated = options.isolated;
    settings.strict = options.strict;
    settings.deep = options.deep;
    settings.step = options.step;
    settings.options_file = absolute(options.options_file);
    for (const std::string& sample : options.samples) settings.samples.push_back(absolute(sample));
    for (const std::string& dir : context.plugin_dirs)
      settings.plugin_dirs.push_back(absolute(dir));
    if (!options.in_child.empty())
      return check::run_case(settings, options.in_child, options.scratch);
    const check::Report report = check::check_plugin(settings);
    ok = ok && report.ok();
    if (context.json())
      reports.push_back(check::to_json(report));
    else
      print(report);
  }
  if (context.json()) context.print_json({{"ok", ok}, {"plugins", reports}});
  return ok ? kExitOk : kExitFailed;
}

}  // namespace

void add_plugin_check_command(CLI::App& plugins, Context& context, int& status) {
  CLI::App* command = plugins.add_subcommand(
      "check", "Tests whether a plugin keeps its contract: each case in a process of its own");
  const auto options = std::make_shared<CheckOptions>();
  command->add_option("PLUGIN", options->plugins, "Its file, or an id that `plugins list` shows")
      ->required();
  command->add_option(
      "--options", options->options_file,
      "Its options: a file (JSON or YAML) as in a plan. Default: what its manifest\n"
      "has under \"check\", and what its schema lets one make up");
  command
      ->add_option("--sample", options->samples,
                   "A disk image that its image reader must read (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--case", options->only, "Only this case");
  command
      ->add_option("--time-limit", options->seconds, "Seconds each case may take; default: 5 to 30")
      ->check(CLI::Range(1, 3600));
  command->add_flag("--isolated", options->isolated,
                    "Through a process of its own, as `isolation: process` runs it");
  command->add_flag("--strict", options->strict, "What is skipped counts as failed");
  command->add_flag("--deep", options->deep,
                    "Also read streams to their end and convert a disk of 5 GiB: minutes");
  // The child's side; a debugger is pointed at it.
  command->add_option("--in-child", options->in_child)->group("");
  command->add_option("--scratch", options->scratch)->group("");
  command->add_option("--step", options->step)->group("");
  command->footer(
      "What needs a connection is skipped, with the reason, where connecting fails and no "
      "--options\n"
      "were given; --strict makes that a failure.\n\nExit status: 0 nothing failed; 1 something "
      "did; "
      "2 wrong command line.\n\n"
      "Examples:\n"
      "  hyperhost plugins check build/acme.so\n"
      "  hyperhost plugins check --strict build/acme.so   # what a package's CI wants\n"
      "  hyperhost plugins check build/acme.so --options lab.yaml --case provider\n"
      "  hyperhost --output json plugins check local-ovf local\n"
      "  gdb --args hyperhost plugins check build/acme.so --in-child provider \\\n"
      "      --scratch /tmp");
  command->callback([options, &context, &status] { status = check_plugins(context, *options); });
}

}  // namespace hyperhost
