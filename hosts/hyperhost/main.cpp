// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/exception.hpp"
#include "core/base/version.hpp"
#include "hosts/hyperhost/command_line.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/documentation.hpp"
#include "hosts/hyperhost/process.hpp"

int main(int argc, char** argv) {
  using namespace hyperhost;
  secure_standard_streams();
  keep_memory_private();
  Context context;
  int status = kExitOk;
  CLI::App app{
      "hyperhost: exports VMs from vSphere or from OVF/OVA packages, converts their disks,\n"
      "writes them to a directory or an object store, and verifies every byte."};
  app.name("hyperhost");
  app.formatter(std::make_shared<HelpFormatter>());
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("hyperhost ") + version());
  app.add_option("--output", context.output, "What standard output carries")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", context.log_level, "What standard error carries")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_option("--plugin-dir", context.plugin_dirs,
                 "A further plugin directory, searched first (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option(
         "--isolation", context.isolation,
         "Where plugins run, unless a plan or this host's file says it: none: in this process;\n"
         "process: each in one of its own; auto: so only those that did not come with hyperhost")
      ->check(CLI::IsMember({"auto", "none", "process"}));
  app.parse_complete_callback([&] { context.start_log(); });
  add_run_commands(app, context, status);
  add_cleanup_command(app, context, status);
  add_status_commands(app, context, status);
  add_inventory_commands(app, context, status);
  add_inspect_command(app, context, status);
  add_plugin_commands(app, context, status);
  add_disk_commands(app, context, status);
  add_serve_disk_command(app, context, status);
  add_audit_commands(app, context, status);
  add_schema_commands(app, context, status);
  CLI::App* about = app.add_subcommand("version", "Print the version");
  about->footer("Example:\n  hyperhost version");
  about->callback([&] {
    if (context.json())
      context.print_json({{"version", version()}, {"plugin_abi", "1.0"}});
    else
      std::cout << "hyperhost " << version() << " (plugin ABI 1.0)\n";
  });
  // Last: what has no footer of its own would inherit it.
  app.footer(
      "Exit status: 0 success; 1 a VM or an operation failed, or a VM was skipped; 2 wrong\n"
      "command line or a plan with errors; 3 the plan cannot run (nothing was touched);\n"
      "4 interrupted, or a VM was cancelled; 5 not equal (compare, verify) or not intact (audit\n"
      "verify); 70 internal error.\n\n"
      "Examples:\n"
      "  hyperhost convert disk.vmdk disk.qcow2\n"
      "  hyperhost validate plan.yaml\n"
      "  hyperhost run plan.yaml\n"
      "  hyperhost verify out/web-01/manifest.json\n\n"
      "Files: /etc/hyperhost/hyperhost.yaml, this host's defaults; /var/lib/hyperhost (of root) "
      "or\n"
      "~/.local/state/hyperhost, what runs leave for later ones.\n\n"
      "Environment: HYPERHOST_PLUGIN_PATH, further plugin directories, separated by colons;\n"
      "HYPERHOST_CONFIG, another file than /etc/hyperhost/hyperhost.yaml;\n"
      "HYPERHOST_STATE_DIR, another directory for the state.");
  const auto documentation = std::make_shared<std::string>();
  CLI::App* document = app.add_subcommand("documentation")->group("");
  document->add_option("DIRECTORY", *documentation)->required();
  document->callback(
      [&app, documentation] { write_documentation(app, *documentation, version()); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  } catch (const Error& error) {
    return context.fail(error);
  } catch (const std::exception& error) {
    const Error said = error_of(error);
    const int failed = context.fail(said);
    return said.code() == Code::kFail ? kExitInternal : failed;
  }
  return with_output_written(status);
}
