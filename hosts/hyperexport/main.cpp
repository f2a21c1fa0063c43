// SPDX-License-Identifier: Apache-2.0
// One VM from flags, without a plan: the flags are made into one and go the way of `hyperhost run`.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "core/base/version.hpp"
#include "core/config/override.hpp"
#include "hosts/hyperexport/export_plan.hpp"
#include "hosts/hyperexport/go_flags.hpp"
#include "hosts/hyperexport/plan_yaml.hpp"
#include "hosts/hyperhost/command_line.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/documentation.hpp"
#include "hosts/hyperhost/process.hpp"
#include "hosts/hyperhost/run.hpp"

namespace hyperhost {
namespace {

constexpr const char* kVersionLine = "version: 1\n";

/// Prints the plan as a file would have it. Mistakes are reported instead, as a run would.
int print_plan(const Context& context, const RunOptions& options) {
  const PlanResult parsed = parse_plan(options.text, options.plan, options.changes);
  context.print(parsed.diagnostics);
  if (!parsed.plan) return kExitUsage;
  ConfigValue document = ConfigValue::mapping();
  document.set("version", ConfigValue(int64_t{1}));
  std::vector<Diagnostic> none;  // parse_plan has said them
  for (const PlanFlag& flag : options.changes.flags)
    apply_override(document, flag.key + "=" + flag.value, none, flag.flag);
  for (const std::string& change : options.changes.overrides)
    apply_override(document, change, none);
  std::cout << "# hyperhost run PLAN does what the flags did that printed this.\n"
            << plan_yaml(document);
  return kExitOk;
}

int hyperexport(Context& context, const ExportFlags& flags, bool only_print, bool dry_run) {
  RunOptions options;
  options.plan = "hyperexport";
  options.text = kVersionLine;
  options.changes.flags = plan_of(flags);
  options.changes.overrides = flags.overrides;
  context.reword = in_flags;
  if (only_print) return print_plan(context, options);
  return run_plan(context, options, dry_run);
}

}  // namespace
}  // namespace hyperhost

int main(int argc, char** argv) {
  using namespace hyperhost;
  secure_standard_streams();
  keep_memory_private();
  Context context;
  ExportFlags flags;
  bool only_print = false, dry_run = false, json = false;
  CLI::App app{
      "hyperexport: takes one VM out of vSphere or an OVF/OVA package and converts it, without a\n"
      "plan. Long flags may be written with one dash (-vm)."};
  app.name("hyperexport");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", std::string("hyperexport ") + version());
  add_export_flags(app, flags);
  app.add_flag("--print-plan", only_print, "Print the plan for `hyperhost run` and do nothing");
  app.add_flag("--dry-run", dry_run, "Check everything, say how each disk would go");
  app.add_flag("--json", json, "The report on standard output is JSON");
  add_progress_option(app, context);
  app.add_option("--log-level", context.log_level, "What standard error carries")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_option("--plugin-dir", context.plugin_dirs,
                 "A further plugin directory, searched first (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  app.footer(
      "Exit status: 0 success; 1 the VM failed; 2 wrong command line; 3 it cannot run (nothing "
      "was\n"
      "touched); 4 interrupted; 70 internal error.\n\n"
      "Environment: GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD and GOVC_INSECURE stand in for what "
      "the\n"
      "flags of a vSphere source leave out.\n\n"
      "Files: /etc/hyperhost/hyperhost.yaml, this host's defaults.\n\n"
      "Examples:\n"
      "  hyperexport --path web.ova --vm web-01 --convert --output /srv/vms\n"
      "  hyperexport -vm web-server-01 -convert -progress-api-port 8080 \\\n"
      "      -metrics-api-port 9090 -audit-log /var/log/hyperhost/audit.log \\\n"
      "      -webhook-url env:SLACK_URL -webhook-type slack\n"
      "  hyperexport --path web.ova --vm web-01 --format raw --print-plan > plan.yaml");
  try {
    if (argc == 3 && std::string_view(argv[1]) == "--documentation") {  // the build asks for it
      write_documentation(app, argv[2], version());
      return kExitOk;
    }
    std::vector<std::string> arguments = with_double_dashes(argc, argv, app);
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    app.parse(std::move(arguments));
    if (json) context.output = "json";
    context.start_log();
    return with_output_written(hyperexport(context, flags, only_print, dry_run));
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  } catch (const Error& error) {
    return context.fail(error);
  } catch (const std::exception& error) {
    context.fail(Error(Code::kFail, "internal error", error.what()));
    return kExitInternal;
  }
}
